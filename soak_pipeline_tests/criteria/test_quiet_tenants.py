"""Fairness: the ratio by hand, at the limit, pairs and looks, pressure, errors, the long burst, the classic order."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats

from soak_pipeline.criteria.documents import fairness_document
from soak_pipeline.criteria.fairness.decision import fairness_is_decided
from soak_pipeline.criteria.windows import fairness_windows
from soak_pipeline.model.plan import fairness_session
from soak_pipeline.model.profile import FairnessOrder, Profile
from soak_pipeline.model.sizing import Capacity, fitted
from soak_pipeline.model.traffic import Phase
from soak_pipeline.model.verdict import Verdict, at_most
from soak_pipeline_tests.criteria.judging import SMALL, evidence_of, finding_of, judged, result_of
from soak_pipeline_tests.evidence_defects import set_outcome, slow_down
from soak_pipeline_tests.evidence_factory import SyntheticRun
from soak_pipeline_tests.policies import SHARES, profile_of

FAIRNESS = "quiet_tenants_are_protected"


def with_fairness(**changes: object) -> Profile:
    return msgspec.structs.replace(SMALL, fairness=msgspec.structs.replace(SMALL.fairness, **changes))


def constant_latencies(baseline_ms: float, burst_ms: float) -> Callable[[SyntheticRun], None]:
    """Every call of the quiet tenants takes exactly this long from its intended start."""

    def defect(run: SyntheticRun) -> None:
        columns = run.requests.columns
        for phase, milliseconds in (("baseline", baseline_ms), ("burst", burst_ms)):
            mask = run.requests.where(phase=phase) & ~run.requests.where(tenant="A")
            columns["start_us"][mask] = columns["intended_us"][mask] + 100
            columns["service_us"][mask] = round(milliseconds * 1_000) - 100

    return defect


@pytest.mark.parametrize(("burst_ms", "verdict"), [(119.9, Verdict.PASS), (120.0, Verdict.PASS), (120.1, Verdict.FAIL)])
def test_a_rise_by_exactly_the_limit_is_allowed(tmp_path: Path, burst_ms: float, verdict: Verdict) -> None:
    result = judged(tmp_path, FAIRNESS, constant_latencies(100.0, burst_ms))

    assert result.verdict is verdict
    assert result.observed == pytest.approx(burst_ms / 100.0)
    assert result.limit == at_most(1.20, "ratio")


def test_ratio_and_interval_are_those_of_an_independent_computation(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    finding = finding_of(result_of(evidence, FAIRNESS), "tenant D")
    requests = evidence.requests
    session = fairness_session(evidence.plan, 0)
    latency_ms = requests.latency_ms
    judged_rows = requests.where(tenant="D", session=session.name) & requests.columns["settled"]
    p99 = {
        window.index: np.quantile(
            latency_ms[judged_rows & (requests.columns["window"] == window.index)], 0.99, method="inverted_cdf"
        )
        for window in session.windows
        if window.phase in (Phase.BASELINE, Phase.BURST)
    }
    phase_of = {window.index: window.phase for window in session.windows}
    logs = []
    for first in range(1, 1 + 2 * 8, 2):
        signed = math.log(p99[first + 1] / p99[first])
        logs.append(signed if phase_of[first] is Phase.BASELINE else -signed)
    level = 1 - (1 - finding_confidence(evidence)) / 2
    half = stats.sem(logs) * stats.t.ppf(level, len(logs) - 1)

    assert finding.observed == pytest.approx(math.exp(np.mean(logs)))
    assert finding.interval == pytest.approx((math.exp(np.mean(logs) - half), math.exp(np.mean(logs) + half)))
    before, after = finding.figures["latency_ms_p99_baseline"], finding.figures["latency_ms_p99_burst"]
    assert after / before == pytest.approx(finding.observed)  # type: ignore[operator]


def finding_confidence(evidence: object) -> float:
    confidence = fairness_document(evidence).tenants[0].confidence  # type: ignore[arg-type]
    assert confidence is not None
    return confidence


def test_a_fail_is_worded_with_tenant_times_interval_limit_and_file(tmp_path: Path) -> None:
    result = judged(tmp_path, FAIRNESS, "quiet_tenant_suffers")

    assert result.why.startswith("tenant E p99 rose 1.")
    assert " ms -> " in result.why
    assert result.why.endswith("limit 1.20x; see comparison.json")
    assert result.evidence[0] == "comparison.json"
    assert "concurrency per tenant" in (result.fix or "")


def test_noise_too_large_for_the_pairs_is_open_and_says_how_many_would_do(tmp_path: Path) -> None:
    def shake(run: SyntheticRun) -> None:
        columns = run.requests.columns
        for window in range(1, 18):
            mask = run.requests.where(session="fairness-1", tenant="B") & (columns["window"] == window)
            factor = math.exp(0.35 * run.rng.standard_normal())
            columns["service_us"][mask] = (columns["service_us"][mask] * factor).astype(np.int64)

    result = judged(tmp_path, FAIRNESS, shake)

    assert result.verdict is Verdict.INCONCLUSIVE
    finding = finding_of(result, "tenant B")
    assert finding.verdict is Verdict.INCONCLUSIVE
    needed = finding.figures["pairs_needed"]
    assert needed > 8  # type: ignore[operator]
    assert f"; about {needed} pairs were needed to clear it, 8 were run; see " in finding.why
    assert "--fairness-order classic" in (result.fix or "")
    assert "cap of pairs" not in (result.fix or "")


def test_drift_over_the_session_is_no_unfairness(tmp_path: Path) -> None:
    def drift(run: SyntheticRun) -> None:
        columns = run.requests.columns
        mask = run.requests.where(session="fairness-1")
        zero_s = run.zero_us["fairness-1"] / 1e6
        elapsed = (columns["intended_us"][mask] / 1e6 - zero_s) / run.sessions["fairness-1"].duration_s
        columns["service_us"][mask] = (columns["service_us"][mask] * (1.0 + 0.5 * elapsed)).astype(np.int64)

    assert judged(tmp_path, FAIRNESS, drift).verdict is Verdict.PASS


@pytest.mark.parametrize(("kept", "verdict"), [(99, Verdict.INCONCLUSIVE), (100, Verdict.PASS)])
def test_a_window_needs_a_hundred_samples(tmp_path: Path, kept: int, verdict: Verdict) -> None:
    def thin(run: SyntheticRun) -> None:
        columns = run.requests.columns
        rows = np.flatnonzero(
            run.requests.where(session="fairness-1", tenant="C") & (columns["window"] == 3) & columns["settled"]
        )
        keep = np.ones(len(run.requests), dtype=bool)
        keep[rows[kept:]] = False
        run.requests.keep(keep)

    assert finding_of(judged(tmp_path, FAIRNESS, thin), "tenant C").verdict is verdict


def test_unsettled_requests_are_not_judged(tmp_path: Path) -> None:
    def slow_start(run: SyntheticRun) -> None:
        mask = ~run.requests.columns["settled"] & run.requests.where(phase="burst")
        run.requests.columns["service_us"][mask] = 2_000_000

    assert judged(tmp_path, FAIRNESS, slow_start).verdict is Verdict.PASS


def test_a_starved_generator_accuses_nobody(tmp_path: Path) -> None:
    def starve(run: SyntheticRun) -> None:
        for stage in ("baseline", "burst"):
            phase = run.outputs[stage]
            session = phase.sessions[0]  # type: ignore[attr-defined]
            workers = tuple(msgspec.structs.replace(worker, loop_lag_ms_p99=400.0) for worker in session.workers)
            run.outputs[stage] = msgspec.structs.replace(
                phase, sessions=(msgspec.structs.replace(session, workers=workers),)
            )

    result = judged(tmp_path, FAIRNESS, "quiet_tenant_suffers", starve)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "does not accuse the platform" in result.why


def test_pressure_is_the_achieved_part_of_the_planned_rise(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    pressure = fairness_document(evidence).pressure

    assert (pressure.planned_baseline, pressure.planned_burst) == (10.0, 100.0)
    assert pressure.requests_per_second_burst == pytest.approx(100.0, rel=0.01)
    assert pressure.rise_share == pytest.approx(1.0, rel=0.01)


def test_pressure_may_be_exactly_the_least_that_is_needed(tmp_path: Path) -> None:
    rise = fairness_document(evidence_of(tmp_path)).pressure.rise_share
    assert rise is not None

    assert judged(tmp_path, FAIRNESS, fairness_pressure_share_min=rise).verdict is Verdict.PASS
    assert judged(tmp_path, FAIRNESS, fairness_pressure_share_min=rise * 1.001).verdict is Verdict.INCONCLUSIVE


def test_throttled_requests_of_the_noisy_tenant_press_and_lost_ones_do_not(tmp_path: Path) -> None:
    throttled = judged(
        tmp_path / "throttled",
        FAIRNESS,
        lambda run: set_outcome(run, "throttled", 429, 1_500, phase="burst", tenant="A"),
    )
    lost = judged(
        tmp_path / "lost", FAIRNESS, lambda run: set_outcome(run, "timeout", 0, 1_500, phase="burst", tenant="A")
    )

    assert throttled.verdict is Verdict.PASS
    assert lost.verdict is Verdict.INCONCLUSIVE
    assert finding_of(lost, "tenant A pressure").verdict is Verdict.INCONCLUSIVE


def test_a_tenant_that_fails_fast_is_not_protected(tmp_path: Path) -> None:
    result = judged(tmp_path, FAIRNESS, "quiet_tenant_fails_fast")

    assert result.verdict is Verdict.FAIL
    assert finding_of(result, "tenant E errors").verdict is Verdict.FAIL
    assert "refused or fail" in (result.likely_cause or "")


def test_the_error_limit_is_held_against_the_bounds_of_the_rise(tmp_path: Path) -> None:
    def some_errors(run: SyntheticRun) -> None:
        set_outcome(run, "server_error", 500, 30, phase="burst", tenant="D")

    tenant = next(
        entry for entry in fairness_document(evidence_of(tmp_path, some_errors)).tenants if entry.tenant == "D"
    )
    low, high = tenant.error_share_rise_lower, tenant.error_share_rise_upper
    assert low is not None
    assert high is not None

    def verdict_at(limit: float) -> Verdict:
        result = judged(tmp_path, FAIRNESS, some_errors, fairness_error_share_rise_max=limit)
        return finding_of(result, "tenant D errors").verdict

    assert verdict_at(high) is Verdict.PASS
    assert verdict_at((low + high) / 2) is Verdict.INCONCLUSIVE
    assert verdict_at(low * 0.99) is Verdict.FAIL


def test_the_stage_stops_at_a_look_that_decides_and_goes_on_at_one_that_does_not(tmp_path: Path) -> None:
    clear = evidence_of(tmp_path / "clear")
    failing = evidence_of(tmp_path / "failing", "quiet_tenants_suffer")
    near = evidence_of(tmp_path / "near", lambda run: slow_down(run, 1.2, phase="burst", tenant="B"))

    assert fairness_is_decided(clear.requests, clear.plan, 1)
    assert fairness_is_decided(failing.requests, failing.plan, 1)
    assert not fairness_is_decided(near.requests, near.plan, 1)


def test_without_any_record_nothing_is_decided(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)

    assert not fairness_is_decided(
        evidence.requests.take(np.zeros(len(evidence.requests), dtype=bool)), evidence.plan, 1
    )


def test_pairs_of_a_second_look_join_those_of_the_first(tmp_path: Path) -> None:
    document = fairness_document(evidence_of(tmp_path, looks=2))

    assert document.looks == (8, 12)
    assert [pair.session for pair in document.tenants[0].pairs] == ["fairness-1"] * 8 + ["fairness-2"] * 4
    assert [pair.first for pair in document.tenants[0].pairs] == ["baseline", "burst"] * 6


def test_windows_are_paired_as_they_stand_next_to_each_other(tmp_path: Path) -> None:
    plan = evidence_of(tmp_path, profile=with_fairness(long_burst_s=30.0)).plan
    windows = fairness_windows(plan, 2)

    for pair in windows.pairs:
        assert pair.baseline.session == pair.burst.session
        assert abs(pair.baseline.window.index - pair.burst.window.index) == 1
        assert (pair.baseline.window.phase, pair.burst.window.phase) == (Phase.BASELINE, Phase.BURST)
    assert windows.long_burst is not None
    assert windows.long_burst.window.duration_s == 30.0
    assert len(windows.of_phase(Phase.BURST)) == len(windows.pairs) + 1


def test_a_queue_that_builds_up_in_the_long_burst_is_open(tmp_path: Path) -> None:
    def build_up(run: SyntheticRun) -> None:
        columns = run.requests.columns
        last = run.sessions["fairness-1"].windows[-1].index
        mask = run.requests.where(session="fairness-1", tenant="B") & (columns["window"] == last)
        columns["service_us"][mask] = columns["service_us"][mask] * 2

    profile = with_fairness(long_burst_s=30.0)
    result = judged(tmp_path / "builds up", FAIRNESS, build_up, profile=profile)

    healthy = judged(tmp_path / "healthy", FAIRNESS, profile=profile)
    assert healthy.verdict is Verdict.PASS
    assert "not shown to be over 1.20x" in finding_of(healthy, "tenant B long burst").why
    # The figure of the criterion is that of the pairs.
    assert healthy.observed in {finding_of(healthy, f"tenant {tenant}").observed for tenant in "BCDE"}
    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "tenant B").verdict is Verdict.PASS
    assert "a queue that builds up slowly" in finding_of(result, "tenant B long burst").why


def test_a_planned_long_burst_that_was_not_recorded_is_open(tmp_path: Path) -> None:
    def lose(run: SyntheticRun) -> None:
        last = run.sessions["fairness-1"].windows[-1].index
        run.requests.keep(~(run.requests.where(session="fairness-1") & (run.requests.columns["window"] == last)))

    result = judged(tmp_path, FAIRNESS, lose, profile=with_fairness(long_burst_s=30.0))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "tenant B long burst").verdict is Verdict.INCONCLUSIVE


CLASSIC = with_fairness(order=FairnessOrder.CLASSIC, window_s=120.0, settle_s=5.0, pairs_by_look=(1,))


def test_the_classic_order_passes_fails_and_stays_open(tmp_path: Path) -> None:
    healthy = judged(tmp_path / "healthy", FAIRNESS, profile=CLASSIC)
    suffering = judged(tmp_path / "suffering", FAIRNESS, "quiet_tenant_suffers", profile=CLASSIC)
    near = judged(
        tmp_path / "near", FAIRNESS, lambda run: slow_down(run, 1.2, phase="burst", tenant="B"), profile=CLASSIC
    )

    assert healthy.verdict is Verdict.PASS
    assert suffering.verdict is Verdict.FAIL
    assert finding_of(suffering, "tenant E").verdict is Verdict.FAIL
    assert finding_of(near, "tenant B").verdict is Verdict.INCONCLUSIVE


def test_the_classic_ratio_is_that_of_an_independent_computation(tmp_path: Path) -> None:
    """Sub-windows of 10 s from the settled start of each window; the quotient of the geometric means of their p99."""
    evidence = evidence_of(tmp_path, lambda run: slow_down(run, 1.1, phase="burst", tenant="C"), profile=CLASSIC)
    document = fairness_document(evidence)
    tenant = next(entry for entry in document.tenants if entry.tenant == "C")
    requests, latency_ms = evidence.requests, evidence.requests.latency_ms
    windows = fairness_session(evidence.plan, 0).windows[1:]
    means = []
    for window in windows:
        rows = requests.where(tenant="C", session="fairness-1") & (requests.columns["window"] == window.index)
        rows &= requests.columns["settled"]
        since_s = requests.columns["intended_us"][rows] / 1e6 - 30.0 - window.start_s - window.settle_s
        p99 = [
            np.quantile(latency_ms[rows][(since_s >= at) & (since_s < at + 10)], 0.99, method="inverted_cdf")
            for at in range(0, 110, 10)
        ]
        means.append(stats.gmean(p99))

    assert document.order == "classic"
    assert document.looks == document.looks_planned == (1,)
    assert tenant.ratio == pytest.approx(means[1] / means[0])
    assert (tenant.latency_ms_p99_baseline, tenant.latency_ms_p99_burst) == pytest.approx(tuple(means))
    assert tenant.without_drift is not None
    assert tenant.without_drift.upper - tenant.without_drift.lower > (tenant.upper or 0.0) - (tenant.lower or 0.0)
    (pair,) = tenant.pairs
    assert (pair.first, pair.samples_baseline, pair.samples_burst) == ("baseline", 6_900, 6_900)
    assert pair.ratio == pytest.approx(1.1, rel=0.05)


@pytest.mark.parametrize(("burst_ms", "verdict"), [(119.9, Verdict.PASS), (120.0, Verdict.PASS), (120.1, Verdict.FAIL)])
def test_a_classic_rise_by_exactly_the_limit_is_allowed(tmp_path: Path, burst_ms: float, verdict: Verdict) -> None:
    assert judged(tmp_path, FAIRNESS, constant_latencies(100.0, burst_ms), profile=CLASSIC).verdict is verdict


def test_a_classic_burst_that_ended_early_is_open(tmp_path: Path) -> None:
    """The last 30 s of 120 s are missing, so 85 s fill eight sub-windows of eleven and half of one; they would pass."""

    def cut(run: SyntheticRun) -> None:
        end_us = run.zero_us["fairness-1"] + int((run.sessions["fairness-1"].duration_s - 30.0) * 1e6)
        late = run.requests.where(session="fairness-1") & (run.requests.columns["intended_us"] > end_us)
        run.requests.keep(~late)

    finding = finding_of(judged(tmp_path, FAIRNESS, cut, profile=CLASSIC), "tenant D")

    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "usable sub-windows: baseline 11 (0 % lost), burst 9 (18 % lost)" in finding.why


def test_drift_in_the_classic_order_is_open_rather_than_unfair(tmp_path: Path) -> None:
    def drift(run: SyntheticRun) -> None:
        columns = run.requests.columns
        mask = run.requests.where(session="fairness-1")
        elapsed = columns["intended_us"][mask] / 1e6 - run.zero_us["fairness-1"] / 1e6
        share = elapsed / run.sessions["fairness-1"].duration_s
        columns["service_us"][mask] = (columns["service_us"][mask] * (1.0 + 0.8 * share)).astype(np.int64)

    result = judged(tmp_path, FAIRNESS, drift, profile=CLASSIC)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert all(finding_of(result, f"tenant {name}").observed > 1.2 for name in "BCDE")  # type: ignore[operator]


def test_the_classic_order_has_one_look(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, lambda run: slow_down(run, 1.2, phase="burst"), profile=CLASSIC)

    assert fairness_is_decided(evidence.requests, evidence.plan, 1)


def test_comparison_document_survives_json(tmp_path: Path) -> None:
    document = fairness_document(evidence_of(tmp_path))

    assert msgspec.json.decode(msgspec.json.encode(document), type=type(document)) == document
    assert [tenant.tenant for tenant in document.tenants] == ["B", "C", "D", "E"]
    assert all(tenant.decision == "PASS" for tenant in document.tenants)


@pytest.mark.parametrize("carried_per_second", [345, 440, 600])
def test_a_tenant_that_really_harms_fails_at_the_size_of_a_slow_machine(
    tmp_path: Path, carried_per_second: int
) -> None:
    """And one that does not, passes: the fitted windows have the samples for both answers."""
    capacity = Capacity(requests=carried_per_second * 4, failed=0, seconds=4.0, at_cap=False)
    fitted_profile, _ = fitted(profile_of("smoke"), SHARES, capacity)

    def harm(run: SyntheticRun) -> None:
        slow_down(run, 1.6, phase="burst", tenant="E")

    harmed = judged(tmp_path / "harmed", FAIRNESS, harm, profile=fitted_profile)
    assert harmed.verdict is Verdict.FAIL
    assert finding_of(harmed, "tenant E").verdict is Verdict.FAIL
    assert judged(tmp_path / "clean", FAIRNESS, profile=fitted_profile).verdict is Verdict.PASS
