"""Judging again: a red run is repaired from its evidence alone, and the UI shows which judgement is out of date.

Judgement and report are the real ones here, over a run folder that a real run could have left.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import msgspec
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from soak_pipeline.definitions import defs
from soak_pipeline.defs.metadata.values import IN_PLACE_CHARS
from soak_pipeline.defs.partitions import ensure_soak_run
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.evidence.seal import seal_new
from soak_pipeline.model.stage_outputs import PlatformEvidence
from soak_pipeline.model.verdict import Judgement, Verdict
from soak_pipeline.report.verdict_document import VerdictDocument
from soak_pipeline.stages import platform_evidence
from soak_pipeline_tests.defs.conftest import RUN_ID, RunJob
from soak_pipeline_tests.evidence_factory import make_run

P95 = "gateway_p95_is_under_slo"
Rejudge = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that is slower than allowed, its stages stored."""
    monkeypatch.setenv("SOAK_REPORTS_DIR", str(tmp_path / "reports"))
    folder = make_run(tmp_path / "reports", run_id=RUN_ID, defects=["slow_tenant"])
    seal_new(folder.path)
    return folder


@pytest.fixture
def judge_again(stored: RunFolder, instance: dg.DagsterInstance) -> Rejudge:
    ensure_soak_run(instance, RUN_ID)
    job = defs().resolve_job_def("rejudge")

    def run(**thresholds: float) -> dg.ExecuteInProcessResult:
        config = {"ops": {"post_run_checks": {"config": {"thresholds": thresholds}}}} if thresholds else {}
        return job.execute_in_process(instance=instance, partition_key=RUN_ID, raise_on_error=False, run_config=config)

    return run


def _materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


def _passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_a_failing_check_is_repaired_by_judging_again_only(stored: RunFolder, judge_again: Rejudge) -> None:
    first = judge_again()
    assert not first.success
    assert not _passed(first)[P95]
    assert not _passed(first)["promotion_is_allowed"]

    second = judge_again(gateway_latency_ms_p95_max=100_000.0)
    assert second.success
    assert _passed(second)[P95]
    assert _passed(second)["promotion_is_allowed"]
    assert _materialized(first) == _materialized(second) == {"post_run_checks", "report"}
    assert stored.output_versions("post_run_checks") == stored.output_versions("report") == [1, 2]
    assert all(stored.output_versions(stage) == [1] for stage in ("provision", "soak", "platform_evidence"))


def test_changed_limits_are_told_where_the_gate_reads_them(stored: RunFolder, judge_again: Rejudge) -> None:
    judge_again(gateway_latency_ms_p95_max=100_000.0)
    assert stored.read_output("post_run_checks", Judgement).verdict is Verdict.PASS
    document = read_json(stored.path / "verdict.json", VerdictDocument)
    assert document.thresholds_changed == {"gateway_latency_ms_p95_max": 100_000.0}
    judge_again()
    assert read_json(stored.path / "verdict.json", VerdictDocument).thresholds_changed == {}


def test_a_limit_that_does_not_exist_judges_nothing(stored: RunFolder, judge_again: Rejudge) -> None:
    result = judge_again(gateway_p95=1.0)
    assert not result.success
    assert _materialized(result) == set()
    assert stored.output_versions("post_run_checks") == []


def test_the_report_shows_tables_and_lines_in_place(judge_again: Rejudge, instance: dg.DagsterInstance) -> None:
    """Longer Markdown hides behind a click in the UI."""
    judge_again()
    event = instance.get_latest_materialization_event(dg.AssetKey("report"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = {name: str(value.value) for name, value in event.asset_materialization.metadata.items()}
    assert metadata["verdict"] == "FAIL"
    assert metadata["why"].startswith(f"{P95}: ")
    at_a_glance = [name for name in metadata if name in ("criteria", "latency", "fairness", "resources")]
    assert len(at_a_glance) == 4
    lines = {name: value for name, value in metadata.items() if "_course_" in name}
    assert {name.rpartition("_")[0] for name in lines} == {"fairness_course", "resource_course"}
    assert all("](data:image/svg+xml;base64," in value for value in lines.values())
    assert [name for name in (*at_a_glance, *lines) if len(metadata[name]) >= IN_PLACE_CHARS] == []
    assert sum(map(len, metadata.values())) < 64_000


@pytest.fixture
def statuses(instance: dg.DagsterInstance, definitions: dg.Definitions) -> Callable[..., dict[str, StaleStatus]]:
    """Status by asset of the run's partition, as the UI shows it."""

    def of(used: dg.Definitions = definitions) -> dict[str, StaleStatus]:
        graph = used.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return {key.to_user_string(): resolver.get_status(key, RUN_ID) for key in graph.get_all_asset_keys()}

    return of


def _stale(statuses: dict[str, StaleStatus]) -> set[str]:
    return {name for name, status in statuses.items() if status is StaleStatus.STALE}


def test_new_evidence_makes_the_judgement_stale_until_it_is_judged_again(
    run_job: RunJob, statuses: Callable[..., dict[str, StaleStatus]]
) -> None:
    run_job()
    assert set(statuses().values()) == {StaleStatus.FRESH}

    run_job("smoke_soak", asset_selection=[dg.AssetKey("platform_evidence")])
    assert _stale(statuses()) == set(), "the same evidence has the same data version"

    collect = platform_evidence.collect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform_evidence, "collect", lambda *given: _slower(collect(*given)))
        run_job("smoke_soak", asset_selection=[dg.AssetKey("platform_evidence")])
    assert "post_run_checks" in _stale(statuses())
    assert _stale(statuses()) <= {"post_run_checks", "report"}
    run_job("rejudge")
    assert _stale(statuses()) == set()


def _slower(evidence: PlatformEvidence) -> PlatformEvidence:
    return msgspec.structs.replace(evidence, drain=msgspec.structs.replace(evidence.drain, seconds=2.5))


def test_changed_criteria_make_stored_judgements_stale_and_nothing_that_measured(
    run_job: RunJob, definitions: dg.Definitions, statuses: Callable[..., dict[str, StaleStatus]]
) -> None:
    run_job()

    def with_newer_criteria(spec: dg.AssetSpec) -> dg.AssetSpec:
        changed = spec.key == dg.AssetKey("post_run_checks")
        return spec.replace_attributes(code_version="another") if changed else spec

    newer = definitions.map_resolved_asset_specs(func=with_newer_criteria)
    assert "post_run_checks" in _stale(statuses(newer))
    assert _stale(statuses(newer)) <= {"post_run_checks", "report"}
