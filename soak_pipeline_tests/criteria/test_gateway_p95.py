"""The SLO: percentiles by a second method, at the limit, windows, unanswered calls, the server's own histogram."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.criteria.documents import latency_document
from soak_pipeline.model.stage_outputs import Capability, HistogramSource
from soak_pipeline.model.verdict import CriterionResult, Verdict, at_most
from soak_pipeline_tests.criteria.judging import SMALL, evidence_of, finding_of, judged, result_of
from soak_pipeline_tests.evidence_defects import change_output, change_part, set_outcome, slow_down
from soak_pipeline_tests.evidence_factory import Defect, SyntheticRun
from soak_pipeline_tests.synthetic_requests import code

SLO = "gateway_p95_is_under_slo"
TEN_MINUTES = msgspec.structs.replace(SMALL, soak_s=600.0, pace_s=2.0)


def constant_latency(milliseconds: float) -> object:
    """Every executed call of the soak takes exactly this long from its intended start."""

    def defect(run: SyntheticRun) -> None:
        mask = run.requests.where(phase="soak", kind="allowed")
        columns = run.requests.columns
        columns["start_us"][mask] = columns["intended_us"][mask] + 1_000
        columns["service_us"][mask] = round(milliseconds * 1_000) - 1_000

    return defect


@pytest.mark.parametrize(
    ("milliseconds", "verdict"), [(249.999, Verdict.PASS), (250.0, Verdict.PASS), (250.001, Verdict.FAIL)]
)
def test_exactly_at_the_limit_keeps_the_budget(tmp_path: Path, milliseconds: float, verdict: Verdict) -> None:
    result = judged(tmp_path, SLO, constant_latency(milliseconds))  # type: ignore[arg-type]

    assert result.verdict is verdict
    assert result.observed == pytest.approx(milliseconds)
    assert result.limit == at_most(250.0, "ms")


def test_p95_is_that_of_an_independent_computation(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    finding = finding_of(result_of(evidence, SLO), "tenant C")
    requests = evidence.requests
    mask = requests.where(phase="soak", tenant="C", kind="allowed")
    latency_ms = (
        requests.columns["start_us"][mask]
        - requests.columns["intended_us"][mask]
        + requests.columns["service_us"][mask]
    ) / 1_000

    assert finding.observed == np.quantile(latency_ms, 0.95, method="inverted_cdf")
    assert finding.figures["samples"] == int(mask.sum())
    assert finding.figures["service_ms_p99"] == np.quantile(
        requests.columns["service_us"][mask] / 1_000, 0.99, method="inverted_cdf"
    )


def test_the_upper_bound_decides_pass_and_the_lower_one_fail(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    low, high = 0.0, 0.0
    for finding in result_of(evidence, SLO).findings:
        if finding.unit == "ms" and finding.interval:
            low, high = max(low, finding.interval[0] or 0.0), max(high, finding.interval[1] or 0.0)

    def verdict_at(limit: float) -> Verdict:
        return judged(tmp_path, SLO, gateway_latency_ms_p95_max=limit).verdict

    assert verdict_at(high) is Verdict.PASS
    assert verdict_at(high * 0.999) is Verdict.INCONCLUSIVE
    assert verdict_at(low * 0.999) is Verdict.FAIL


def test_a_stall_in_one_window_fails_though_the_whole_soak_is_within(tmp_path: Path) -> None:
    def stall(run: SyntheticRun) -> None:
        start_s, _ = run.soak_stretch_s()
        columns = run.requests.columns
        late = columns["intended_us"] / 1e6 - start_s
        # 8 % of the calls of the second five minutes are 4 % of all: only that window's p95 is beyond the limit.
        mask = run.requests.where(phase="soak", tenant="A") & (late > 300) & (np.arange(len(late)) % 100 < 8)
        columns["service_us"][mask] = 400_000

    result = judged(tmp_path, SLO, stall, profile=TEN_MINUTES)

    assert result.verdict is Verdict.FAIL
    assert "in minutes 5 to 10 of the soak" in result.why
    finding = finding_of(result, "tenant A")
    assert finding.figures["latency_ms_p95"] < 250.0  # type: ignore[operator]
    assert finding.figures["latency_ms_p95_worst_window"] == finding.observed


def test_coordinated_omission_is_seen_from_the_intended_start(tmp_path: Path) -> None:
    def stall(run: SyntheticRun) -> None:
        columns = run.requests.columns
        mask = run.requests.where(phase="soak", tenant="B") & (np.arange(len(run.requests)) % 5 == 0)
        columns["start_us"][mask] = columns["intended_us"][mask] + 500_000

    result = judged(tmp_path, SLO, stall)

    assert result.verdict is Verdict.FAIL
    finding = finding_of(result, "tenant B")
    assert finding.figures["service_ms_p95"] < 60  # type: ignore[operator]
    assert "stalls now and then" in (result.likely_cause or "")


def test_a_latency_that_rises_all_along_is_called_a_drift(tmp_path: Path) -> None:
    def drift(run: SyntheticRun) -> None:
        columns = run.requests.columns
        mask = run.requests.where(phase="soak")
        times_us = columns["intended_us"][mask]
        columns["service_us"][mask] += ((times_us - times_us.min()) * (600_000 / np.ptp(times_us))).astype(np.int64)

    result = judged(tmp_path, SLO, drift)

    assert (result.verdict, result.cause) == (Verdict.FAIL, "latency_drifts")


def test_calls_without_an_answer_count_as_slow_even_when_they_failed_at_once(tmp_path: Path) -> None:
    def refuse(run: SyntheticRun) -> None:
        mask = run.requests.where(phase="soak", tenant="B", kind="allowed")
        rows = np.flatnonzero(mask)[::5]
        run.requests.set_text("outcome", rows, "transport_error")
        run.requests.columns["service_us"][rows] = 200

    result = judged(tmp_path, SLO, refuse)

    assert result.verdict is Verdict.FAIL
    assert finding_of(result, "tenant B").observed == 10_000.0


def test_quick_refusals_do_not_make_the_executed_calls_look_quick(tmp_path: Path) -> None:
    def refuse_most(run: SyntheticRun) -> None:
        slow_down(run, 12.0, phase="soak", tenant="A", kind="allowed")
        rows = np.flatnonzero(run.requests.where(phase="soak", tenant="A", kind="allowed"))
        refused = rows[np.arange(len(rows)) % 10 < 8]
        run.requests.set_text("outcome", refused, "throttled")
        run.requests.columns["service_us"][refused] = 500

    assert finding_of(judged(tmp_path, SLO, refuse_most), "tenant A").verdict is Verdict.FAIL


@pytest.mark.parametrize(("kept", "verdict"), [(71, Verdict.INCONCLUSIVE), (72, Verdict.PASS)])
def test_seventy_two_samples_are_the_fewest(tmp_path: Path, kept: int, verdict: Verdict) -> None:
    def thin(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(phase="soak", tenant="E", kind="allowed"))
        keep = np.ones(len(run.requests), dtype=bool)
        keep[rows[kept:]] = False
        run.requests.keep(keep)

    finding = finding_of(judged(tmp_path, SLO, thin), "tenant E")

    assert finding.verdict is verdict
    assert finding.figures["samples"] == kept


def test_a_starved_generator_accuses_nobody(tmp_path: Path) -> None:
    result = judged(tmp_path, SLO, "slow_tenant", "generator_starved")

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "event loop was 850 ms late" in result.why


def test_the_server_alone_breaking_the_limit_is_open(tmp_path: Path) -> None:
    def slow_server(run: SyntheticRun) -> None:
        change_part(run, "server_latency", "C", requests=1_000, within_slo=900)

    result = judged(tmp_path, SLO, slow_server)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "one of the two measurements is wrong" in result.why
    assert finding_of(result, "tenant C").verdict is Verdict.PASS


def test_a_disagreement_that_changes_nothing_is_reported_only(tmp_path: Path) -> None:
    def a_little_slower(run: SyntheticRun) -> None:
        change_part(run, "server_latency", "A", requests=10_000, within_slo=9_700)

    result = judged(tmp_path, SLO, a_little_slower)

    assert result.verdict is Verdict.PASS
    finding = finding_of(result, "tenant A, server histogram")
    assert finding.figures["agreement"] == "disagree"
    assert "they differ by 3 %, which is more than sampling error, without changing the answer" in finding.why
    assert "the gateway counts time or requests that its clients do not see" in finding.why


def test_time_lost_outside_the_gateway_is_said_to_be_there(tmp_path: Path) -> None:
    """Every 25th call of the client takes 300 ms, and the gateway knows nothing of it."""

    def delayed(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(phase="soak", tenant="A"))[::25]
        run.requests.columns["service_us"][rows] = 300_000

    finding = finding_of(judged(tmp_path, SLO, delayed), "tenant A, server histogram")

    assert finding.verdict is Verdict.PASS
    assert finding.figures["agreement"] == "disagree"
    assert finding.figures["client_share_within"] == pytest.approx(0.96, abs=0.002)
    assert f"counts 100 % of {finding.figures['server_requests']:,} requests within 250 ms" in finding.why
    assert "from the request read to the answer written, through its metrics pages" in finding.why
    assert "the time is lost outside the gateway" in finding.why


def test_a_count_through_prometheus_or_instead_of_it_says_so(tmp_path: Path) -> None:
    why = "Prometheus: ReadTimeout; the metrics pages were read instead"

    def sources(run: SyntheticRun) -> None:
        change_part(run, "server_latency", "A", source=HistogramSource.PROMETHEUS)
        change_part(run, "server_latency", "B", reason=why)

    result = judged(tmp_path, SLO, sources)

    assert "answer written, through Prometheus; we count" in finding_of(result, "tenant A, server histogram").why
    assert f"through its metrics pages ({why}); we count" in finding_of(result, "tenant B, server histogram").why


def test_a_limit_that_is_no_bucket_boundary_is_not_compared(tmp_path: Path) -> None:
    reason = "180 ms is no bucket boundary of the gateway's histogram"

    def no_boundary(run: SyntheticRun) -> None:
        change_part(run, "server_latency", "A", within_slo=None, slo_s=0.18, reason=reason)

    finding = finding_of(judged(tmp_path, SLO, no_boundary), "tenant A, server histogram")

    assert (finding.verdict, finding.observed) == (Verdict.PASS, None)
    assert finding.why == f"tenant A: the gateway's histogram was not compared: {reason}"


def test_both_sides_count_the_same_calls(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    requests = evidence.requests
    operations = requests.text("operation")
    expected = [
        row
        for row in np.flatnonzero(requests.where(phase="soak", tenant="A"))
        if operations[row] not in ("misc_bad_token", "misc_no_token", "misc_oversize", "misc_health", "login")
    ]
    check = latency_document(evidence).server[0]

    assert check.tenant == "A"
    assert check.client_requests == len(expected) < requests.where(phase="soak", tenant="A").sum()


@pytest.mark.parametrize(
    ("within", "verdict"), [(946, Verdict.PASS), (935, Verdict.INCONCLUSIVE)], ids=["bound reaches", "bound below"]
)
def test_the_server_breaks_the_limit_only_beyond_its_sampling_error(
    tmp_path: Path, within: int, verdict: Verdict
) -> None:
    """Wilson's upper 97.5 % bounds of 946 and 935 in 1,000, by hand: 95.84 % and 94.87 %."""
    result = judged(
        tmp_path, SLO, lambda run: change_part(run, "server_latency", "C", requests=1_000, within_slo=within)
    )

    assert finding_of(result, "tenant C, server histogram").verdict is verdict


def test_without_the_servers_histogram_the_clients_answer_stands(tmp_path: Path) -> None:
    def unread(run: SyntheticRun) -> None:
        change_part(run, "server_latency", "A", requests=None, within_slo=None, reason="no metrics page")

    result = judged(tmp_path, SLO, unread)

    assert result.verdict is Verdict.PASS
    assert "no metrics page" in finding_of(result, "tenant A, server histogram").why


def test_latency_document_has_every_tenant_kind_and_clock(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    document = latency_document(evidence)
    requests = evidence.requests

    soak = [row for row in document.rows if row.phase == "soak"]
    assert {(row.tenant, row.kind) for row in soak} == {
        (tenant, kind) for tenant in "ABCDE" for kind in ("allowed", "denied", "read", "verify", "misc")
    }
    assert sum(row.requests for row in soak) == int((requests.where(phase="soak") & requests.columns["settled"]).sum())
    for row in document.rows:
        assert row.latency_ms.p95.value >= row.service_ms.p95.value  # type: ignore[operator]
        assert row.samples == row.outcomes["ok"]
    assert [(window.tenant, round(window.end_s - window.start_s)) for window in document.windows] == [
        (tenant, 45) for tenant in "ABCDE"
    ]
    assert msgspec.json.decode(msgspec.json.encode(document), type=type(document)) == document


def test_latency_document_of_a_run_without_requests_is_empty(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    for path in evidence.folder.requests_dir.glob("*.parquet"):
        path.unlink()

    document = latency_document(evidence)

    assert document.rows == ()
    assert document.windows == ()


def test_kinds_are_never_mixed(tmp_path: Path) -> None:
    def slow_denials(run: SyntheticRun) -> None:
        mask = run.requests.columns["kind"] == code("kind", "denied")
        run.requests.columns["service_us"][mask] = 900_000

    assert judged(tmp_path, SLO, slow_denials).verdict is Verdict.PASS


def test_few_errors_of_another_kind_are_left_to_their_own_criterion(tmp_path: Path) -> None:
    result = judged(
        tmp_path, SLO, lambda run: set_outcome(run, "server_error", 500, 40, phase="soak", tenant="A", kind="allowed")
    )

    assert result.verdict is Verdict.PASS


def test_an_unfit_generator_is_named_as_the_cause(tmp_path: Path) -> None:
    result = judged(tmp_path, SLO, "slow_tenant", "generator_starved")

    assert "generator was not fit to measure" in (result.likely_cause or "")


def judged_with_prometheus(tmp_path: Path, *defects: Defect, **limits: float) -> CriterionResult:
    """The result where the target file names a Prometheus, which has every tenant's count but for the defects."""

    def through_prometheus(run: SyntheticRun) -> None:
        for tenant in "ABCDE":
            change_part(run, "server_latency", tenant, source=HistogramSource.PROMETHEUS, unseen_s=2.0)

    evidence = evidence_of(tmp_path, through_prometheus, *defects, **limits)
    target = msgspec.structs.replace(evidence.plan.target, prometheus_url="http://127.0.0.1:9090")
    plan = msgspec.structs.replace(evidence.plan, target=target)
    return result_of(dataclasses.replace(evidence, plan=plan), SLO)


@pytest.mark.parametrize(
    ("unseen_s", "verdict"), [(2.0, Verdict.PASS), (30.0, Verdict.PASS), (30.1, Verdict.INCONCLUSIVE)]
)
def test_a_prometheus_must_have_seen_the_soak_to_its_edges(tmp_path: Path, unseen_s: float, verdict: Verdict) -> None:
    result = judged_with_prometheus(tmp_path, lambda run: change_part(run, "server_latency", "D", unseen_s=unseen_s))

    finding = finding_of(result, "Prometheus")
    assert (result.verdict, finding.verdict, finding.observed) == (verdict, verdict, unseen_s)
    assert finding.limit == at_most(30.0, "s")
    if verdict is not Verdict.PASS:
        assert result.why.startswith("the Prometheus that the target file names has no sample of tenant D for 30 s")
        assert result.cause == "prometheus_lost"


def test_metrics_pages_in_place_of_a_prometheus_that_is_gone_are_no_pass(tmp_path: Path) -> None:
    why = "Prometheus: ConnectionError; the metrics pages were read instead"
    result = judged_with_prometheus(
        tmp_path,
        lambda run: change_part(
            run, "server_latency", "B", source=HistogramSource.METRICS_PAGES, unseen_s=None, reason=why
        ),
    )

    assert (result.verdict, result.cause) == (Verdict.INCONCLUSIVE, "prometheus_lost")
    assert result.why == (
        f"the Prometheus that the target file names has not the gateway's histogram of the soak: tenant B: {why}"
    )
    assert finding_of(result, "tenant B").verdict is Verdict.PASS
    assert f"through its metrics pages ({why})" in finding_of(result, "tenant B, server histogram").why


def test_a_tenant_that_the_prometheus_does_not_know_is_no_pass(tmp_path: Path) -> None:
    reason = "the histogram of tenant E has no two samples in the window, or was reset within it"
    result = judged_with_prometheus(
        tmp_path,
        lambda run: change_part(
            run, "server_latency", "E", requests=None, within_slo=None, unseen_s=40.0, reason=reason
        ),
    )

    assert result.verdict is Verdict.INCONCLUSIVE
    assert f"tenant E: {reason}" in result.why


def test_a_prometheus_that_preflight_missed_is_a_capability_that_lacks(tmp_path: Path) -> None:
    def never_there(run: SyntheticRun) -> None:
        change_part(run, "server_latency", "A", source=HistogramSource.METRICS_PAGES, reason="Prometheus: OSError")
        missing = Capability(name="prometheus", available=False, reason="no answer")
        change_output(run, "provision", capabilities=(*run.outputs["provision"].capabilities, missing))  # type: ignore[attr-defined]

    result = judged_with_prometheus(tmp_path, never_there)

    assert (result.verdict, result.cause) == (Verdict.INCONCLUSIVE, "capability_missing")
    assert "prometheus is not available: no answer" in result.why


def test_a_prometheus_that_was_never_asked_is_no_pass(tmp_path: Path) -> None:
    def unread(run: SyntheticRun) -> None:
        del run.outputs["platform_evidence"]

    result = judged_with_prometheus(tmp_path, unread)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the Prometheus that the target file names was not asked" in result.why
