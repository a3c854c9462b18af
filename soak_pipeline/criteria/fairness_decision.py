"""Whether the p99 of each quiet tenant held under the burst, from the pairs so far.

Owns the choice of the method by the plan: interleaved pairs, or the classic two phases. The stage asks it after each
look whether more pairs are needed; the criterion asks it once, with the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.fairness import FairnessResult, judge_fairness
from soak_pipeline.analysis.phases import PhaseComparison, compare_phases
from soak_pipeline.criteria.fairness_samples import (
    JUDGED_KIND,
    MINIMUM_SAMPLES,
    TenantWindows,
    look_plan,
    quiet_tenants,
    tenant_windows,
)
from soak_pipeline.criteria.windows import FairnessWindows
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.plan import Plan

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

    Args:
        requests: the records so far.
        plan: of the run.
        looks_done: how many looks' windows have been run, from 1.
    """
    windows, tenants = tenant_windows(plan, requests, looks_done)
    limit = plan.thresholds.fairness_latency_p99_ratio_max
    decisions = [answer.decision for answer in decide_ratios(plan, windows, tenants, limit).values()]
    return Decision.FAIL in decisions or all(decision is Decision.PASS for decision in decisions)


def decide_ratios(
    plan: Plan, windows: FairnessWindows, tenants: Mapping[str, TenantWindows], limit: float
) -> dict[str, RatioDecision]:
    """The answer for every quiet tenant, in the plan's order."""
    names = quiet_tenants(plan)
    if plan.profile.fairness.order == "classic":
        return {name: _classic(plan, windows, tenants[name], limit, len(names)) for name in names}
    results = judge_fairness(
        [[tenants[name].latencies_of(pair) for pair in windows.pairs] for name in names],
        limit=limit,
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


def _classic(plan: Plan, windows: FairnessWindows, tenant: TenantWindows, limit: float, tenants: int) -> RatioDecision:
    """PASS at the plain level, FAIL at one shared over the tenants: only FAIL accuses one out of several."""
    baseline = tenant.pooled(pair.baseline for pair in windows.pairs)
    burst = tenant.pooled(pair.burst for pair in windows.pairs)
    fairness = plan.profile.fairness
    rate = fairness.quiet_users / fairness.quiet_pace_s * fairness.quiet_mix.get(JUDGED_KIND, 0.0)
    sub_window_s = max(SHORTEST_SUB_WINDOW_S, 1.2 * MINIMUM_SAMPLES / rate if rate else SHORTEST_SUB_WINDOW_S)

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
