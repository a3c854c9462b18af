"""The charts against a synthetic run: what is drawn is what was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most
from soak_pipeline.report.charts.fairness import fairness_charts
from soak_pipeline.report.charts.latency import latency_charts, soak_samples
from soak_pipeline.report.charts.leaks import leak_charts, slope_per_hour
from soak_pipeline.report.charts.run import run_chart
from soak_pipeline.report.course import Course, course_of
from soak_pipeline.report.tenant_key import tenant_key
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.policies import profile_of
from soak_pipeline_tests.report.runs import documents_of

FIVE = tenant_key("ABCDE", noisy="A")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> RunEvidence:
    return read_evidence(make_run(tmp_path_factory.mktemp("run"), defects=["server_errors", "rss_leak"]))


@pytest.fixture(scope="module")
def course(evidence: RunEvidence) -> Course:
    return course_of(evidence)


def test_run_chart_counts_every_request_and_error(evidence: RunEvidence, course: Course) -> None:
    chart = run_chart(course, FIVE)
    assert chart is not None
    assert chart.svg_narrow
    errors = sum(outcome != "ok" for outcome in evidence.requests.text("outcome"))
    assert errors > 0
    assert sum(int(row.cells[-1]) for row in chart.rows) == errors
    assert f"{errors} user-visible errors" in chart.summary
    assert f"{len(evidence.requests):,} requests" in chart.summary
    assert {row.cells[1] for row in chart.rows} >= {"baseline", "burst", "soak", "drain", "fanout"}


def test_latency_of_the_percentile_chart_is_that_of_latency_json(evidence: RunEvidence, course: Course) -> None:
    chart = latency_charts(course, FIVE, 250.0, 10.0).shown[-1]
    assert chart.key == "latency-by-percentile"
    shown = {row.cells[0]: row.cells[1:] for row in chart.rows}
    document = documents_of(evidence).latency
    assert document is not None
    rows = [row for row in document.rows if row.phase == "soak" and row.kind == "allowed"]
    p50 = [row.latency_ms.p50.value for row in rows]
    assert shown["50 %"] == tuple(f"{value:.1f}" for value in p50 if value is not None)


def test_latency_over_time_has_one_chart_per_tenant_and_holds_every_sample(
    evidence: RunEvidence, course: Course
) -> None:
    charts = {chart.title: chart for chart in latency_charts(course, FIVE, 250.0, 10.0).shown}
    assert list(charts)[:5] == [f"Tenant {tenant}" for tenant in "ABCDE"]
    samples = {part.tenant: len(part) for part in soak_samples(evidence.requests, FIVE.names, None, 10.0)}
    for tenant, count in samples.items():
        assert sum(int(row.cells[1].replace(",", "")) for row in charts[f"Tenant {tenant}"].rows) == count


def test_a_call_without_an_answer_is_drawn_at_the_timeout(tmp_path: Path) -> None:
    def time_out(run: object) -> None:
        requests = run.requests  # type: ignore[attr-defined]
        rows = np.flatnonzero(requests.where(phase="soak", tenant="E", operation="execute"))[:1]
        requests.set_text("outcome", rows, "transport_error")
        requests.columns["status"][rows] = 0

    evidence = read_evidence(make_run(tmp_path, defects=[time_out]))
    slowest = {part.tenant: part.latency_ms.max() for part in soak_samples(evidence.requests, FIVE.names, None, 10.0)}
    assert slowest["E"] == 10_000.0
    assert slowest["A"] < 1_000.0


def test_a_limit_that_is_passed_colours_the_chart(course: Course) -> None:
    assert latency_charts(course, FIVE, 1.0, 10.0).shown[0].tone == "fail"
    assert {chart.tone for chart in latency_charts(course, FIVE, 250.0, 10.0).shown} == {""}


def test_a_tenant_is_held_against_its_own_limit(course: Course) -> None:
    charts = latency_charts(course, FIVE, 250.0, 10.0, {"B": 1.0}).shown
    assert [chart.tone for chart in charts[:5]] == ["", "fail", "", "", ""]
    assert "p95 limit 1 ms" in charts[1].svg


def test_fairness_charts_show_the_figures_of_comparison_json(evidence: RunEvidence) -> None:
    comparison = documents_of(evidence).comparison
    assert comparison is not None
    ratio, before_after, pairs = fairness_charts(comparison, FIVE)
    assert [row.cells[0] for row in ratio.rows] == ["B", "C", "D", "E"]
    for row, tenant in zip(ratio.rows, comparison.tenants, strict=True):
        assert row.cells[1] == f"{tenant.ratio:.2f}x"
    assert len(before_after.rows) == 4
    assert len(pairs.rows) == evidence.plan.profile.fairness.pairs_by_look[0]


def test_no_figures_draw_no_chart() -> None:
    empty = Course((), (), None, {}, None, None, ())
    assert run_chart(empty, FIVE) is None
    assert latency_charts(empty, FIVE, 250.0, 10.0).shown == ()
    assert fairness_charts(None, FIVE) == []
    assert leak_charts(empty, [], 24.0) == []


def leak_result(verdict: Verdict) -> CriterionResult:
    finding = Finding(
        subject="gateway-1 rss_bytes",
        verdict=verdict,
        why="resident memory of gateway-1 grew",
        observed=9.0e9,
        limit=at_most(1.0e9, "bytes"),
        interval=(8.0e9, 1.0e10),
        figures={"slope_per_hour": 4.0e8, "slope_per_hour_lower": 3.0e8},
    )
    return CriterionResult(name="nothing_leaks", verdict=verdict, why=finding.why, findings=(finding,))


def test_a_leak_comes_first_with_its_trend_and_horizon(course: Course) -> None:
    charts = leak_charts(course, [leak_result(Verdict.FAIL)], 24.0)
    assert charts[0].title == "gateway-1: resident memory"
    assert charts[0].tone == "fail"
    assert "in 24 h 8.38 GiB of 954 MiB" in charts[0].svg
    assert charts[0].note == "resident memory of gateway-1 grew"


def test_series_without_a_finding_are_shown_as_not_judged(course: Course) -> None:
    charts = leak_charts(course, [], 24.0)
    assert charts
    assert {(chart.note, chart.tone) for chart in charts} == {("", "")}
    assert all(chart.summary.endswith("; not judged.") for chart in charts)
    assert not any("in 24 h" in chart.svg for chart in charts)


def test_slope_is_the_finding_s_own() -> None:
    assert slope_per_hour(leak_result(Verdict.FAIL).findings[0]) == 4.0e8
    assert slope_per_hour(None) is None


def test_long_soak_draws_at_most_sixty_points(tmp_path: Path) -> None:
    evidence = read_evidence(make_run(tmp_path, profile=profile_of("pull_request")))
    for chart in latency_charts(course_of(evidence), FIVE, 250.0, 10.0).shown:
        assert len(chart.rows) <= 60
