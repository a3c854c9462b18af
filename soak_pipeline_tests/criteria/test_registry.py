"""The registry's order and its safety."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from soak_pipeline.criteria.criterion import Criterion
from soak_pipeline.criteria.documents import (
    chain_document,
    fairness_document,
    latency_document,
    reconcile_document,
)
from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.criteria.registry import CRITERIA, judge_run, judged_safely
from soak_pipeline.evidence.bundle import STAGE_OUTPUTS, RunEvidence, read_evidence
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline_tests.criteria.judging import SMALL, evidence_of
from soak_pipeline_tests.evidence_factory import make_run


def test_the_criteria_are_these_in_this_order() -> None:
    assert [criterion.name for criterion in CRITERIA] == [
        "chain_has_no_violations",
        "usage_matches_audit",
        "no_timeline_is_stuck",
        "roots_are_sealed",
        "gateway_p95_is_under_slo",
        "reads_are_under_slo",
        "quiet_tenants_are_protected",
        "nothing_leaks",
        "decisions_are_correct",
        "fanout_is_correct",
        "teardown_is_silent",
        "load_was_valid",
    ]
    assert all(criterion.question.endswith("?") for criterion in CRITERIA)


def test_a_criterion_has_the_name_of_its_module() -> None:
    assert [criterion.name for criterion in CRITERIA] == list(CRITERION_NAMES)
    assert len({criterion.short for criterion in CRITERIA}) == len(CRITERIA)


def test_a_criterion_rests_on_stages_that_there_are() -> None:
    assert {stage for criterion in CRITERIA for stage in criterion.rests_on} <= set(STAGE_OUTPUTS)


def test_a_crash_of_a_criterion_is_inconclusive_with_the_reason(tmp_path: Path) -> None:
    def crash(evidence: RunEvidence) -> CriterionResult:
        raise ZeroDivisionError("no tenants")

    result = judged_safely(
        Criterion(name="crashes", short="crash", question="Does it?", rests_on=(), judge=crash), evidence_of(tmp_path)
    )

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.asked
    assert "ZeroDivisionError: no tenants" in result.why


def test_damaged_request_records_leave_every_criterion_that_needs_them_open(tmp_path: Path) -> None:
    folder = make_run(tmp_path, profile=SMALL)
    (folder.requests_dir / "soak-0-00000.parquet").write_bytes(b"PAR1 and then nothing")

    judgement = judge_run(read_evidence(folder))

    assert judgement.verdict is Verdict.INCONCLUSIVE
    by_name = {result.name: result for result in judgement.criteria}
    assert by_name["gateway_p95_is_under_slo"].verdict is Verdict.INCONCLUSIVE
    assert "could not be judged" in by_name["gateway_p95_is_under_slo"].why
    assert by_name["usage_matches_audit"].verdict is Verdict.PASS


def test_without_any_request_record_nothing_passes_that_needs_them(tmp_path: Path) -> None:
    folder = make_run(tmp_path, profile=SMALL)
    for path in folder.requests_dir.glob("*.parquet"):
        path.unlink()

    by_name = {result.name: result.verdict for result in judge_run(read_evidence(folder)).criteria}

    for name in ("gateway_p95_is_under_slo", "quiet_tenants_are_protected", "decisions_are_correct"):
        assert by_name[name] is Verdict.INCONCLUSIVE
    for name in ("fanout_is_correct", "teardown_is_silent", "load_was_valid"):
        assert by_name[name] is Verdict.INCONCLUSIVE


def test_the_judgement_records_run_moment_and_changed_limits(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, gateway_latency_ms_p95_max=300.0)
    moment = datetime(2026, 11, 24, 7, 0, 0, 123, UTC)

    judgement = judge_run(evidence, {"gateway_latency_ms_p95_max": 300.0}, judged_at=moment)

    assert judgement.run_id == evidence.plan.run_id
    assert judgement.judged_at == "2026-11-24T07:00:00Z"
    assert judgement.thresholds_changed == {"gateway_latency_ms_p95_max": 300.0}


@pytest.mark.parametrize("stage", STAGE_OUTPUTS)
def test_the_documents_can_be_made_whatever_stage_is_missing(tmp_path: Path, stage: str) -> None:
    evidence = evidence_of(tmp_path, f"without_{stage}")

    for make in (chain_document, fairness_document, latency_document, reconcile_document):
        document = make(evidence)
        assert msgspec.json.decode(msgspec.json.encode(document), type=type(document)) == document


@pytest.mark.parametrize("stage", ["baseline", "soak", "platform_evidence"])
def test_no_sentence_names_the_place_of_the_run_folder(tmp_path: Path, stage: str) -> None:
    judgement = judge_run(evidence_of(tmp_path, f"without_{stage}"))

    for result in judgement.criteria:
        texts = [result.why, result.likely_cause or "", *(finding.why for finding in result.findings)]
        assert not any(str(tmp_path) in text for text in texts)
