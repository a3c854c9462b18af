from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.model.documents import ChainDocument, FairnessDocument, LatencyDocument, ReconcileDocument
from soak_pipeline.model.plan import plan_hash
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.verdict_document import VerdictDocument
from soak_pipeline.report.write import write_report
from soak_pipeline_tests.evidence_factory import RUN_ID, make_run
from soak_pipeline_tests.report.runs import documents_of, reported_run

FILES = (
    "latency.json",
    "comparison.json",
    f"../../fairness/{RUN_ID}/comparison.json",
    "chain_verify.json",
    "reconcile.json",
    "errors.log",
    "report.html",
    "junit.xml",
    "summary.md",
    "verdict.json",
)


def test_every_file_of_a_healthy_run_is_written(tmp_path: Path) -> None:
    folder, final = reported_run(tmp_path)
    assert final.files == FILES
    assert all((folder.path / name).is_file() for name in FILES)
    assert (tmp_path / "fairness" / RUN_ID / "comparison.json").is_file()
    assert final.verdict is Verdict.PASS
    assert final.plan_hash == plan_hash(folder.read_plan())
    assert (final.run_id, final.release, final.commit, final.profile) == (RUN_ID, "v1.2.3", "0123abc", "smoke")


def test_files_hold_what_they_are_named_after(tmp_path: Path) -> None:
    folder, final = reported_run(tmp_path, defects=["row_tampered"])
    verdict = read_json(folder.path / "verdict.json", VerdictDocument)
    assert (verdict.verdict, verdict.why) == (Verdict.FAIL, final.why)
    chain = read_json(folder.path / "chain_verify.json", ChainDocument)
    assert chain.verdict is Verdict.FAIL
    assert read_json(folder.path / "latency.json", LatencyDocument).run_id == RUN_ID
    assert read_json(folder.path / "reconcile.json", ReconcileDocument).verdict is Verdict.PASS
    assert read_json(folder.path / "comparison.json", FairnessDocument).limit == 1.2


def test_a_second_judgement_replaces_the_first(tmp_path: Path) -> None:
    folder, _ = reported_run(tmp_path)
    evidence = read_evidence(
        folder, msgspec.structs.replace(folder.read_plan().thresholds, gateway_latency_ms_p95_max=1.0)
    )
    final = write_report(
        evidence, judge_run(evidence, {"gateway_latency_ms_p95_max": 1.0}), documents_of(evidence), folder
    )
    stored = read_json(folder.path / "verdict.json", VerdictDocument)
    assert final.verdict is stored.verdict is Verdict.FAIL
    assert stored.thresholds_changed == {"gateway_latency_ms_p95_max": 1.0}
    assert "Judged by changed limits" in (folder.path / "report.html").read_text()


def test_what_there_is_nothing_to_write_of_is_taken_away(tmp_path: Path) -> None:
    folder, _ = reported_run(tmp_path)
    evidence = read_evidence(folder)
    final = write_report(evidence, judge_run(evidence), Documents(), folder)
    assert "latency.json" not in final.files
    assert not (folder.path / "latency.json").exists()
    assert not (folder.path / "comparison.json").exists()


@pytest.mark.parametrize("left", ["plan only", "damaged records"])
def test_a_run_that_broke_off_gets_its_report_too(tmp_path: Path, left: str) -> None:
    folder = _broken_off(tmp_path, left)
    evidence = read_evidence(folder)
    final = write_report(evidence, judge_run(evidence), Documents(), folder)
    assert final.verdict is Verdict.INCONCLUSIVE
    page = (folder.path / "report.html").read_text()
    assert "Not everything could be read." in page
    assert "errors are unknown" in (folder.path / "errors.log").read_text()


def _broken_off(reports: Path, left: str) -> RunFolder:
    folder = make_run(reports)
    if left == "plan only":
        for path in (*(folder.path / "outputs").iterdir(), *folder.requests_dir.iterdir()):
            path.unlink()
    else:
        for path in folder.requests_dir.iterdir():
            path.write_bytes(b"PAR1")
    return folder
