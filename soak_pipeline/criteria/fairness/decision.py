"""Whether the p99 of each quiet tenant held under the burst, from the pairs so far.

Owns the choice of the method by the plan: interleaved pairs, or the classic two phases. The stage asks it after each
look whether more pairs are needed; the criterion asks it once, with the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.fairness import FairnessResult, judge_fairness
from soak_pipeline.analysis.phases import PhaseComparison, Spans, compare_phases
from soak_pipeline.criteria.fairness.samples import (
    JUDGED_KIND,
    MINIMUM_SAMPLES,
    TenantWindows,
    look_plan,
    quiet_tenants,
    tenant_windows,
)
from soak_pipeline.criteria.windows import FairnessWindows, judged_span_s
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.profile import FairnessOrder
from soak_pipeline.model.traffic import Phase

ALPHA = 0.05
SHARE = 0.99
SHORTEST_SUB_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class RatioDecision:
    """The answer about one tenant's p99(burst) / p99(baseline), by either method."""

    decision: Decision
    ratio: float | None
    lower: float | None
    upper: float | None
    confidence: float
    reason: str
    paired: FairnessResult | None = None
    classic: PhaseComparison | None = None


def fairness_is_decided(requests: RequestTable, plan: Plan, looks_done: int) -> bool:
    """Whether another look could not change the answer: every quiet tenant is PASS, or one is FAIL.

    The classic order has no other look.

    Args:
        requests: the records so far.
        plan: of the run.
        looks_done: how many looks' windows have been run, from 1.
    """
    if plan.profile.fairness.order == FairnessOrder.CLASSIC:
        return True
    windows, tenants = tenant_windows(plan, requests, looks_done)
    limits = {name: plan.thresholds_of(name).fairness_latency_p99_ratio_max for name in quiet_tenants(plan)}
    decisions = [answer.decision for answer in _paired(plan, windows, tenants, limits).values()]
    return Decision.FAIL in decisions or all(decision is Decision.PASS for decision in decisions)


def decide_ratios(
    plan: Plan,
    windows: FairnessWindows,
    tenants: Mapping[str, TenantWindows],
    limits: Mapping[str, float],
    zero_s: Mapping[str, float],
) -> dict[str, RatioDecision]:
    """The answer for every quiet tenant, in the plan's order.

    Args:
        plan: of the run.
        windows, tenants: what was measured.
        limits: largest allowed ratio of each quiet tenant.
        zero_s: time zero of each session that began, seconds since the run's epoch.
    """
    if plan.profile.fairness.order != FairnessOrder.CLASSIC:
        return _paired(plan, windows, tenants, limits)
    names = quiet_tenants(plan)
    spans = {
        phase: [span for entry in windows.of_phase(phase) if (span := judged_span_s(entry, zero_s)) is not None]
        for phase in (Phase.BASELINE, Phase.BURST)
    }
    return {name: _classic(plan, windows, tenants[name], limits[name], spans, len(names)) for name in names}


def _paired(
    plan: Plan, windows: FairnessWindows, tenants: Mapping[str, TenantWindows], limits: Mapping[str, float]
) -> dict[str, RatioDecision]:
    names = quiet_tenants(plan)
    results = judge_fairness(
        [[tenants[name].latencies_of(pair) for pair in windows.pairs] for name in names],
        limit=[limits[name] for name in names],
        plan=look_plan(plan),
        share=SHARE,
        minimum_samples=MINIMUM_SAMPLES,
    )
    return {
        name: RatioDecision(
            decision=result.decision,
            ratio=result.ratio,
            lower=result.lower,
            upper=result.upper,
            confidence=result.confidence,
            reason=result.reason,
            paired=result,
        )
        for name, result in zip(names, results, strict=True)
    }


def sub_window_length_s(plan: Plan) -> float:
    """Length of the sub-windows of the classic order (seconds): long enough for their samples at the planned rate."""
    fairness = plan.profile.fairness
    rate = fairness.quiet_users / fairness.quiet_pace_s * fairness.quiet_mix.get(JUDGED_KIND, 0.0)
    return max(SHORTEST_SUB_WINDOW_S, 1.2 * MINIMUM_SAMPLES / rate if rate else SHORTEST_SUB_WINDOW_S)


def _classic(
    plan: Plan,
    windows: FairnessWindows,
    tenant: TenantWindows,
    limit: float,
    spans: Mapping[Phase, Spans],
    tenants: int,
) -> RatioDecision:
    """PASS at the plain level, FAIL at one shared over the tenants: only FAIL accuses one out of several.

    The phases are held against their planned spans, so that one that ended early does not look whole.
    """
    baseline = tenant.pooled(pair.baseline for pair in windows.pairs)
    burst = tenant.pooled(pair.burst for pair in windows.pairs)
    sub_window_s = sub_window_length_s(plan)

    def compare(alpha: float) -> PhaseComparison:
        return compare_phases(
            baseline.times_s,
            baseline.latency_ms,
            burst.times_s,
            burst.latency_ms,
            limit=limit,
            share=SHARE,
            sub_window_s=sub_window_s,
            minimum_samples=MINIMUM_SAMPLES,
            alpha=alpha,
            baseline_spans_s=spans[Phase.BASELINE],
            burst_spans_s=spans[Phase.BURST],
        )

    plain, shared = compare(ALPHA), compare(ALPHA / tenants)
    decision, reason = plain.decision, plain.reason
    if decision is Decision.FAIL and shared.decision is not Decision.FAIL:
        decision, reason = Decision.OPEN, f"{plain.reason}, but not after correction over {tenants} tenants"
    measured = plain.as_measured
    return RatioDecision(
        decision=decision,
        ratio=None if measured is None else measured.ratio,
        lower=None if measured is None else measured.lower,
        upper=None if measured is None else measured.upper,
        confidence=plain.confidence,
        reason=reason,
        classic=plain,
    )
