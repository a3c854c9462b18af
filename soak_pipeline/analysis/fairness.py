"""Is a quiet tenant's tail latency protected while a noisy tenant presses?

Owns the paired comparison of a high percentile in baseline and burst windows, its look plan, and the decision over
several tenants. It never knows which tenant is which, never judges whether the pressure was real, and never mixes
latencies of different kinds: the caller hands over the requests that count.

Method. Each pair gives ln(percentile in burst / percentile in baseline) from exact order statistics; the mean over
pairs has a Student t interval. By simulation with log-normal service times and window-level noise, this has more
power at the same calibration than pooled percentiles with a grouped jackknife, trimmed means, and Harrell-Davis or
interpolated percentiles; `calibration` repeats the figures.

Errors. PASS needs the upper bound at or under the limit for a tenant; a caller that asks for all tenants loses
nothing by this (intersection-union), so PASS is not corrected for the number of tenants. FAIL accuses one tenant out of
several, so it needs Holm's correction. Both use the level of the look plan, so that looking again as pairs are added
does not add error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import FloatArray, positive_vector, share_between_0_and_1
from soak_pipeline.analysis.decision import Decision, Side, side_of_limit
from soak_pipeline.analysis.distributions import (
    noncentral_t_cdf,
    student_t_cdf,
    student_t_quantile,
)
from soak_pipeline.analysis.multiplicity import holm_adjusted, pocock_level
from soak_pipeline.analysis.percentiles import order_statistic_rank
from soak_pipeline.model.profile import FEWEST_PAIRS


@dataclass(frozen=True, slots=True)
class LookPlan:
    """When the answer may be read, decided before the first pair.

    `pairs_at_look` are the numbers of pairs at which the stage may stop, the last being the cap. `alpha` is the total
    one-sided error of each bound over all looks.
    """

    pairs_at_look: tuple[int, ...]
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.pairs_at_look or self.pairs_at_look[0] < FEWEST_PAIRS:
            raise ValueError(f"pairs_at_look: {self.pairs_at_look}, the first look needs at least {FEWEST_PAIRS} pairs")
        pocock_level(self.pairs_at_look, self.alpha)

    @property
    def level(self) -> float:
        """One-sided level of each bound at every look."""
        return pocock_level(self.pairs_at_look, self.alpha)

    @property
    def cap(self) -> int:
        """The number of pairs after which no more are added."""
        return self.pairs_at_look[-1]

    def next_look(self, pairs: int) -> int | None:
        """The first planned look beyond `pairs`, or None at the cap."""
        return next((look for look in self.pairs_at_look if look > pairs), None)


@dataclass(frozen=True, slots=True)
class PairResult:
    """One pair of windows. Percentiles in the unit of the latencies; None where a window has too few samples."""

    samples_baseline: int
    samples_burst: int
    percentile_baseline: float | None
    percentile_burst: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class FairnessResult:
    """Decision for one tenant.

    `ratio` is the geometric mean over pairs of percentile(burst) / percentile(baseline); `lower` and `upper` are its
    one-sided bounds at `1 - level` each, so together a `confidence` interval. None where fewer than three pairs can be
    used. `p_value_above_limit` and its Holm-adjusted form test "the ratio is at most the limit".
    `log_ratio_sd` is the spread over pairs that the plan has to live with, and `pairs_needed` estimates the number of
    pairs at which a ratio of 1 would be recognised with a chance of 0.99.
    """

    decision: Decision
    ratio: float | None
    lower: float | None
    upper: float | None
    confidence: float
    limit: float
    p_value_above_limit: float | None
    p_value_above_limit_holm: float | None
    pairs: tuple[PairResult, ...]
    pairs_used: int
    log_ratio_sd: float | None
    pairs_needed: int | None
    reason: str


Pair = tuple[ArrayLike, ArrayLike]


def compare_pair(baseline: ArrayLike, burst: ArrayLike, *, share: float, minimum_samples: int) -> PairResult:
    """Percentiles of one pair of windows and their ratio.

    Args:
        baseline, burst: latencies of the judged requests in each window, same unit, above 0.
        share: percentile as a share (0.99 for p99).
        minimum_samples: fewest samples in each window; 1 / (1 - share) is the least that makes sense, since below it
            the percentile is the maximum.

    Raises ValueError for latencies that are not finite or not above zero.
    """
    before, after = positive_vector(baseline, "baseline"), positive_vector(burst, "burst")
    low = _percentile_or_none(before, share, minimum_samples)
    high = _percentile_or_none(after, share, minimum_samples)
    ratio = None if low is None or high is None else high / low
    return PairResult(int(before.size), int(after.size), low, high, ratio)


def _percentile_or_none(values: FloatArray, share: float, minimum_samples: int) -> float | None:
    if values.size < max(1, minimum_samples):
        return None
    rank = order_statistic_rank(share, int(values.size))
    return float(np.partition(values, rank - 1)[rank - 1])


def judge_fairness(
    tenants: Sequence[Sequence[Pair]],
    *,
    limit: float | Sequence[float],
    plan: LookPlan,
    share: float = 0.99,
    minimum_samples: int = 100,
) -> tuple[FairnessResult, ...]:
    """Decide for each tenant whether its tail held under pressure.

    Args:
        tenants: per tenant the pairs (baseline latencies, burst latencies) in the order they were run.
        limit: largest allowed ratio, such as 1.20; one for all tenants, or one for each.
        plan: the looks that were planned, and the total error.
        share: percentile as a share.
        minimum_samples: fewest samples per window; a tenant with a pair below it cannot PASS.

    Returns: one result per tenant, in the order given. OPEN before the first look, with an unusable pair (unless the
    other pairs show a FAIL), and where the interval straddles the limit.

    Raises ValueError for latencies that are not finite or not above zero, or a limit that is not above zero.
    """
    limits = [limit] * len(tenants) if isinstance(limit, float | int) else list(limit)
    if not all(one > 0.0 for one in limits):
        raise ValueError(f"limit: {limit}, must be above 0")
    share_between_0_and_1(share, "share")
    drafts = [_draft(pairs, one, share, minimum_samples, plan) for pairs, one in zip(tenants, limits, strict=True)]
    tested = [draft for draft in drafts if draft.p_value_above_limit is not None]
    adjusted = iter(holm_adjusted([draft.p_value_above_limit or 0.0 for draft in tested]))
    return tuple(
        _decided(draft, None if draft.p_value_above_limit is None else next(adjusted), plan) for draft in drafts
    )


@dataclass(frozen=True, slots=True)
class _Draft:
    """A tenant's figures before the correction over tenants."""

    pairs: tuple[PairResult, ...]
    log_ratios: FloatArray
    limit: float
    level: float
    mean: float | None
    lower: float | None
    upper: float | None
    sd: float | None
    p_value_above_limit: float | None


def _draft(pairs: Sequence[Pair], limit: float, share: float, minimum_samples: int, plan: LookPlan) -> _Draft:
    results = tuple(compare_pair(low, high, share=share, minimum_samples=minimum_samples) for low, high in pairs)
    log_ratios = np.array([math.log(pair.ratio) for pair in results if pair.ratio is not None], dtype=np.float64)
    level = plan.level
    if log_ratios.size < FEWEST_PAIRS:
        return _Draft(results, log_ratios, limit, level, None, None, None, None, None)
    degrees = log_ratios.size - 1
    mean, sd = float(log_ratios.mean()), float(log_ratios.std(ddof=1))
    error = sd / math.sqrt(log_ratios.size)
    half = error * student_t_quantile(1.0 - level, degrees)
    gap = mean - math.log(limit)
    if error > 0.0:
        p_value = 1.0 - student_t_cdf(gap / error, degrees)
    else:
        p_value = 0.0 if side_of_limit(math.exp(mean), None, limit) is Side.ABOVE else 1.0
    return _Draft(results, log_ratios, limit, level, mean, mean - half, mean + half, sd, p_value)


def _decided(draft: _Draft, p_holm: float | None, plan: LookPlan) -> FairnessResult:
    lower = None if draft.lower is None else math.exp(draft.lower)
    upper = None if draft.upper is None else math.exp(draft.upper)
    ratio = None if draft.mean is None else math.exp(draft.mean)
    used, offered = int(draft.log_ratios.size), len(draft.pairs)
    decision, reason = Decision.OPEN, ""
    side = side_of_limit(lower, upper, draft.limit)
    if used < plan.pairs_at_look[0]:
        reason = f"{used} usable pairs of {offered}, the first look needs {plan.pairs_at_look[0]}"
    elif side is Side.ABOVE and p_holm is not None and p_holm <= draft.level:
        decision = Decision.FAIL
        reason = f"lower bound {lower:.3f} is above the limit {draft.limit:g}"
    elif side is Side.ABOVE:
        reason = f"lower bound {lower:.3f} is above the limit {draft.limit:g}, but not after Holm's correction"
    elif used < offered:
        reason = f"{offered - used} of {offered} pairs have a window with too few samples"
    elif side is Side.BELOW:
        decision = Decision.PASS
        reason = f"upper bound {upper:.3f} is at most the limit {draft.limit:g}"
    else:
        reason = f"the interval {lower:.3f}-{upper:.3f} holds the limit {draft.limit:g}"
    needed = None if draft.sd is None else pairs_needed(draft.sd, limit=draft.limit, level=draft.level)
    return FairnessResult(
        decision=decision,
        ratio=ratio,
        lower=lower,
        upper=upper,
        confidence=1.0 - 2.0 * draft.level,
        limit=draft.limit,
        p_value_above_limit=draft.p_value_above_limit,
        p_value_above_limit_holm=p_holm,
        pairs=draft.pairs,
        pairs_used=used,
        log_ratio_sd=draft.sd,
        pairs_needed=needed,
        reason=reason,
    )


def pass_probability(pairs: int, log_ratio_sd: float, *, limit: float, level: float, true_ratio: float = 1.0) -> float:
    """Chance that one tenant PASSes with `pairs` pairs whose log ratios spread normally by `log_ratio_sd`."""
    if pairs < 2:
        return 0.0
    distance = math.log(true_ratio) - math.log(limit)
    if log_ratio_sd <= 0.0:
        return 1.0 if distance <= 0.0 else 0.0
    degrees = pairs - 1
    return noncentral_t_cdf(
        -student_t_quantile(1.0 - level, degrees), degrees, distance * math.sqrt(pairs) / log_ratio_sd
    )


def pairs_needed(
    log_ratio_sd: float, *, limit: float, level: float, power: float = 0.99, most: int = 500
) -> int | None:
    """Fewest pairs with which a tenant without any effect PASSes with chance `power`; None beyond `most`."""
    for pairs in range(FEWEST_PAIRS, most + 1):
        if pass_probability(pairs, log_ratio_sd, limit=limit, level=level) >= power:
            return pairs
    return None
