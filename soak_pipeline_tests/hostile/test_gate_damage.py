"""No damage of a stored run opens the gate."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soak_pipeline.commands.gate import GateQuestion, GateVerdict, answer
from soak_pipeline.evidence.run_folder import RunFolder, write_json
from soak_pipeline.evidence.seal import SEAL_FILE
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.verdict_document import VERDICT_FILE, verdict_document
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline_tests.evidence_factory import RUN_ID, make_run
from soak_pipeline_tests.policies import POLICY

NEWER_ID = "20261123T083000Z"
SOON_AFTER = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SETTINGS = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that passed, and a newer one of the same release that failed; never changed, only copied."""
    path = tmp_path_factory.mktemp("reports")
    passed = make_run(path, profile="pull_request")
    failed = make_run(path, profile="pull_request", run_id=NEWER_ID, defects=["row_tampered"])
    for folder, verdict in ((passed, Verdict.PASS), (failed, Verdict.FAIL)):
        document = verdict_document(folder.read_plan(), judge_folder(folder, {}))
        assert document.verdict is verdict
        write_json(folder.path / VERDICT_FILE, document)
    return path


@pytest.fixture
def copied(reports: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(reports, tmp_path / "reports")


def _asked(reports: Path) -> GateVerdict:
    return answer(reports, GateQuestion(level="pull_request", release="v1.2.3"), SOON_AFTER, POLICY).verdict


def _flipped(path: Path, at: int, bits: int) -> bytes:
    """The old content, after one byte was changed."""
    old = path.read_bytes()
    path.write_bytes(old[:at] + bytes([old[at] ^ bits]) + old[at + 1 :])
    return old


def _drawn_flip(data: st.DataObject, files: list[Path]) -> tuple[Path, int, int]:
    path = data.draw(st.sampled_from(files))
    return path, data.draw(st.integers(0, path.stat().st_size - 1)), data.draw(st.integers(1, 255))


def test_the_newer_run_decides(copied: Path) -> None:
    assert _asked(copied) is GateVerdict.FAIL
    shutil.rmtree(copied / "soak" / NEWER_ID)
    assert _asked(copied) is GateVerdict.PASS


@SETTINGS
@given(data=st.data())
def test_no_changed_byte_makes_a_failed_run_pass_or_step_aside(copied: Path, data: st.DataObject) -> None:
    files = sorted(path for path in (copied / "soak" / NEWER_ID).rglob("*") if path.is_file())
    path, at, bits = _drawn_flip(data, files)
    old = _flipped(path, at, bits)
    try:
        assert _asked(copied) not in (GateVerdict.PASS, GateVerdict.PASS_WITH_WAIVER)
    finally:
        path.write_bytes(old)


@SETTINGS
@given(data=st.data())
def test_any_changed_byte_of_a_passed_runs_evidence_shuts_the_gate(copied: Path, data: st.DataObject) -> None:
    shutil.rmtree(copied / "soak" / NEWER_ID, ignore_errors=True)
    run = copied / "soak" / RUN_ID
    names = [line.split("  ", 1)[1] for line in (run / SEAL_FILE).read_text().splitlines()]
    path, at, bits = _drawn_flip(data, [run / SEAL_FILE, run / "verdict.json", *(run / name for name in names)])
    old = _flipped(path, at, bits)
    try:
        assert _asked(copied) is GateVerdict.INCONCLUSIVE
    finally:
        path.write_bytes(old)


@pytest.mark.parametrize(
    "name", ["plan.json", "verdict.json", SEAL_FILE, "outputs/soak.v0001.json", "telemetry/run-00000.parquet"]
)
@pytest.mark.parametrize("how", ["gone", "a link", "a pipe", "endless", "empty"])
def test_a_file_that_is_not_what_it_was_shuts_the_gate(copied: Path, name: str, how: str) -> None:
    shutil.rmtree(copied / "soak" / NEWER_ID)
    path = copied / "soak" / RUN_ID / name
    moved = copied / "moved"
    path.rename(moved)
    if how == "a link":
        path.symlink_to(moved)
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "endless":
        path.symlink_to("/dev/zero")
    elif how == "empty":
        path.touch()
    assert _asked(copied) is GateVerdict.INCONCLUSIVE


def test_a_damaged_plan_does_not_let_an_older_run_answer(copied: Path) -> None:
    plan = RunFolder(copied, NEWER_ID).plan_path
    plan.write_bytes(plan.read_bytes().replace(b"v1.2.3", b"v1.2.4"))
    assert _asked(copied) is GateVerdict.INCONCLUSIVE
