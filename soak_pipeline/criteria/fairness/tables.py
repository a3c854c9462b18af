"""The content of `comparison.json`: each quiet tenant before and during the burst, and whether the burst was one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.analysis.distributions import student_t_quantile
from soak_pipeline.analysis.percentiles import percentile
from soak_pipeline.analysis.proportions import rise_against_margin
from soak_pipeline.criteria.fairness.decision import ALPHA, SHARE, RatioDecision, decide_ratios
from soak_pipeline.criteria.fairness.samples import (
    MINIMUM_SAMPLES,
    TenantWindows,
    WindowSamples,
    quiet_tenants,
    tenant_windows,
)
from soak_pipeline.criteria.latency.tables import percentiles
from soak_pipeline.criteria.windows import FairnessWindows, WindowPair, looks_taken, seconds_of, session_zeros_s
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.documents import (
    FairnessDocument,
    FairnessPair,
    LongBurst,
    PhaseSummary,
    Pressure,
    RatioWithoutDrift,
    TenantFairness,
)
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.profile import FairnessOrder
from soak_pipeline.model.traffic import Phase

FEWEST_SUB_WINDOWS = 3


def fairness_document(evidence: RunEvidence) -> FairnessDocument:
    """Every fairness figure of the run."""
    plan = evidence.plan
    looks = looks_taken(evidence)
    windows, tenants = tenant_windows(plan, evidence.requests, looks)
    limits = {name: evidence.thresholds_of(name).fairness_latency_p99_ratio_max for name in quiet_tenants(plan)}
    ratios = decide_ratios(plan, windows, tenants, limits, session_zeros_s(evidence))
    planned = plan.profile.fairness.pairs_by_look
    return FairnessDocument(
        run_id=plan.run_id,
        order=plan.profile.fairness.order.value,
        limit=evidence.thresholds.fairness_latency_p99_ratio_max,
        looks=planned[:looks],
        looks_planned=planned,
        pressure=_pressure(plan, windows, tenants[plan.noisy_tenant.name]),
        tenants=tuple(_tenant(evidence, windows, tenants[name], ratios[name], limits[name]) for name in limits),
    )


def _tenant(
    evidence: RunEvidence, windows: FairnessWindows, tenant: TenantWindows, answer: RatioDecision, limit: float
) -> TenantFairness:
    paired = answer.paired
    baseline, burst = (_summary(windows, tenant, phase) for phase in (Phase.BASELINE, Phase.BURST))
    before_ms, after_ms = _p99_means(answer)
    rise = None
    if baseline.requests and burst.requests:
        rise = rise_against_margin(
            baseline.errors,
            baseline.requests,
            burst.errors,
            burst.requests,
            margin=evidence.thresholds_of(tenant.tenant).fairness_error_share_rise_max,
        )
    return TenantFairness(
        tenant=tenant.tenant,
        limit=limit,
        decision=answer.decision.value,
        ratio=answer.ratio,
        lower=answer.lower,
        upper=answer.upper,
        confidence=answer.confidence,
        without_drift=_without_drift(answer),
        p_value=None if paired is None else paired.p_value_above_limit,
        p_value_holm=None if paired is None else paired.p_value_above_limit_holm,
        latency_ms_p99_baseline=before_ms,
        latency_ms_p99_burst=after_ms,
        baseline=baseline,
        burst=burst,
        error_share_rise=None if rise is None else rise[1].difference,
        error_share_rise_lower=None if rise is None else rise[1].lower,
        error_share_rise_upper=None if rise is None else rise[1].upper,
        error_share_side=None if rise is None else rise[0].value,
        log_ratio_sd=None if paired is None else paired.log_ratio_sd,
        pairs_needed=None if paired is None else paired.pairs_needed,
        pairs=_pairs(windows, tenant, answer),
        long_burst=_long_burst(evidence.plan, windows, tenant),
        reason=answer.reason,
    )


def _summary(windows: FairnessWindows, tenant: TenantWindows, phase: Phase) -> PhaseSummary:
    entries = windows.of_phase(phase)
    samples = tenant.pooled(entries)
    requests, seconds = tenant.requests[phase], seconds_of(entries)
    return PhaseSummary(
        requests=requests,
        errors=tenant.errors[phase],
        error_share=tenant.errors[phase] / requests if requests else None,
        requests_per_second=requests / seconds if seconds else None,
        latency_ms=percentiles(samples.latency_ms),
        service_ms=percentiles(samples.service_ms),
    )


def _without_drift(answer: RatioDecision) -> RatioWithoutDrift | None:
    estimate = None if answer.classic is None else answer.classic.without_drift
    if estimate is None:
        return None
    return RatioWithoutDrift(ratio=estimate.ratio, lower=estimate.lower, upper=estimate.upper)


def _pairs(windows: FairnessWindows, tenant: TenantWindows, answer: RatioDecision) -> tuple[FairnessPair, ...]:
    if answer.paired is None:
        return tuple(_long_pair(pair, tenant) for pair in windows.pairs)
    return tuple(
        FairnessPair(
            pair=pair.number,
            session=pair.baseline.session,
            first=pair.first.value,
            samples_baseline=result.samples_baseline,
            samples_burst=result.samples_burst,
            latency_ms_p99_baseline=result.percentile_baseline,
            latency_ms_p99_burst=result.percentile_burst,
            ratio=result.ratio,
        )
        for pair, result in zip(windows.pairs, answer.paired.pairs, strict=True)
    )


def _long_pair(pair: WindowPair, tenant: TenantWindows) -> FairnessPair:
    """The two long windows of the classic order, each as a whole."""
    before, after = tenant.latencies_of(pair)
    p99 = [percentile(values, SHARE) if len(values) >= MINIMUM_SAMPLES else None for values in (before, after)]
    return FairnessPair(
        pair=pair.number,
        session=pair.baseline.session,
        first=pair.first.value,
        samples_baseline=len(before),
        samples_burst=len(after),
        latency_ms_p99_baseline=p99[0],
        latency_ms_p99_burst=p99[1],
        ratio=p99[1] / p99[0] if p99[0] is not None and p99[1] is not None else None,
    )


def _p99_means(answer: RatioDecision) -> tuple[float | None, float | None]:
    """p99 before and during the burst (ms): geometric means over pairs or sub-windows; their quotient is the ratio."""
    if answer.classic is not None:
        return answer.classic.percentile_baseline, answer.classic.percentile_burst
    if answer.paired is not None:
        used = [
            (pair.percentile_baseline, pair.percentile_burst)
            for pair in answer.paired.pairs
            if pair.percentile_baseline is not None and pair.percentile_burst is not None
        ]
        if not used:
            return None, None
        before, after = np.log(np.array(used)).mean(axis=0)
        return math.exp(before), math.exp(after)
    return None, None


def _long_burst(plan: Plan, windows: FairnessWindows, tenant: TenantWindows) -> LongBurst | None:
    """p99 of stretches of the long burst, as long as a window, against the p99 of the baseline windows.

    None where none was planned, and in classic order, whose burst is long itself.
    """
    if not plan.profile.fairness.long_burst_s or plan.profile.fairness.order == FairnessOrder.CLASSIC:
        return None
    if windows.long_burst is None:
        return _no_long_burst("the long burst was not run")
    length_s = plan.profile.fairness.window_s - plan.profile.fairness.settle_s
    after = _log_p99s(_stretches(tenant.of(windows.long_burst), length_s))
    before = _log_p99s([tenant.of(pair.baseline).latency_ms for pair in windows.pairs])
    if min(len(before), len(after)) < FEWEST_SUB_WINDOWS:
        return _no_long_burst(
            f"{len(after)} stretches of the long burst and {len(before)} baseline windows have enough samples; "
            f"at least {FEWEST_SUB_WINDOWS} of each are needed"
        )
    mean, half = _welch(before, after)
    return LongBurst(
        sub_windows=len(after),
        latency_ms_p99=math.exp(float(after.mean())),
        ratio=math.exp(mean),
        lower=math.exp(mean - half),
        upper=math.exp(mean + half),
    )


def _no_long_burst(reason: str) -> LongBurst:
    return LongBurst(sub_windows=0, latency_ms_p99=None, ratio=None, lower=None, upper=None, reason=reason)


def _stretches(samples: WindowSamples, length_s: float) -> list[NDArray[np.float64]]:
    if not len(samples.times_s):
        return []
    slot = ((samples.times_s - samples.times_s.min()) // length_s).astype(np.int64)
    return [samples.latency_ms[slot == number] for number in range(int(slot.max()) + 1)]


def _log_p99s(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.log([percentile(part, SHARE) for part in parts if len(part) >= MINIMUM_SAMPLES])


def _welch(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float]:
    """Difference of two means, and the half width of its interval (Welch), at the level of the pairs' error."""
    parts = [float(values.var(ddof=1)) / len(values) for values in (before, after)]
    variance = sum(parts)
    mean = float(after.mean() - before.mean())
    if variance == 0.0:
        return mean, 0.0
    freedom = variance**2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (before, after), strict=True)
    )
    return mean, math.sqrt(variance) * student_t_quantile(1.0 - ALPHA, freedom)


def _pressure(plan: Plan, windows: FairnessWindows, noisy: TenantWindows) -> Pressure:
    fairness = plan.profile.fairness
    planned = [users / fairness.noisy_pace_s for users in (fairness.noisy_users_baseline, fairness.noisy_users_burst)]
    rates = []
    for phase in (Phase.BASELINE, Phase.BURST):
        seconds = seconds_of(windows.of_phase(phase))
        answered = noisy.requests[phase] - noisy.unanswered[phase]
        rates.append(answered / seconds if seconds and noisy.requests[phase] else None)
    before, during = rates
    rise = planned[1] - planned[0]
    sent = noisy.requests[Phase.BURST]
    return Pressure(
        tenant=noisy.tenant,
        requests_per_second_baseline=before,
        requests_per_second_burst=during,
        planned_baseline=planned[0],
        planned_burst=planned[1],
        rise_share=None if before is None or during is None or rise <= 0 else (during - before) / rise,
        unanswered_share_burst=noisy.unanswered[Phase.BURST] / sent if sent else None,
    )
