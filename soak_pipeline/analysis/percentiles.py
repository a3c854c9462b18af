"""Exact percentiles of raw measurements, with intervals that assume no distribution.

Definition used everywhere: the percentile at `share` of n values is the order statistic of rank ceil(share * n), the
smallest measured value that at least `share` of the values do not exceed (the inverse of the empirical distribution;
type 1 of Hyndman and Fan, The American Statistician 50, 1996). It is always a value that was measured.

Intervals: the number of values below the true percentile is binomial(n, share), so two order statistics enclose it
with a known confidence whatever the distribution (David and Nagaraja, Order Statistics, 7.1). It never interpolates
and never reads buckets or rounded values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import FloatArray, finite_vector, same_length, share_between_0_and_1
from soak_pipeline.analysis.decision import Side, side_of_limit
from soak_pipeline.analysis.dependence import BLOCK_S, design_effects_of_windows, exceedance_design_effect
from soak_pipeline.analysis.distributions import binomial_cdf

MOST_WINDOWS = 10_000


@dataclass(frozen=True, slots=True)
class PercentileEstimate:
    """One percentile with its interval, in the unit of the values.

    `lower` and `upper` are each a one-sided bound at `(1 + confidence) / 2`, so that together they are a two-sided
    interval at `confidence`. A bound is None where the sample is too small for one to exist. `value` is None only
    without any sample. `effective_samples` is `samples` divided by the design effect that was given.
    """

    share: float
    samples: int
    effective_samples: int
    value: float | None
    lower: float | None
    upper: float | None
    confidence: float


def order_statistic_rank(share: float, samples: int) -> int:
    """Rank (1 = smallest) of the percentile at `share` among `samples` values: ceil(share * samples), at least 1."""
    share_between_0_and_1(share, "share")
    if samples < 1:
        raise ValueError(f"samples: {samples}, a percentile needs at least 1")
    # 0.95 * 100 is 95.00000000000001 in some products; a rank must not jump by a rounding error.
    return min(samples, max(1, math.ceil(share * samples - 1e-9)))


def percentile(values: ArrayLike, share: float) -> float:
    """The exact percentile of `values` at `share` (0..1), as the module defines it.

    Raises ValueError for an empty or non-finite array.
    """
    vector = finite_vector(values, "values")
    rank = order_statistic_rank(share, vector.size)
    return float(np.partition(vector, rank - 1)[rank - 1])


def minimum_samples(share: float, confidence_one_sided: float = 0.975) -> int:
    """Fewest independent values for which a finite one-sided upper bound of the percentile exists.

    The largest of n values exceeds the percentile with probability 1 - share**n; below this n even the maximum is no
    bound. 72 for p95, 368 for p99 and 3,688 for p99.9 at 97.5 %.
    """
    share_between_0_and_1(share, "share")
    share_between_0_and_1(confidence_one_sided, "confidence_one_sided")
    samples = max(1, math.ceil(math.log1p(-confidence_one_sided) / math.log(share)))
    while 1.0 - share**samples < confidence_one_sided:
        samples += 1
    return samples


def upper_bound_rank(share: float, samples: int, confidence_one_sided: float) -> int | None:
    """Smallest rank whose order statistic is at least the percentile with the given confidence, or None."""
    if samples < 1 or binomial_cdf(samples - 1, samples, share) < confidence_one_sided:
        return None
    low, high = 1, samples
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(middle - 1, samples, share) >= confidence_one_sided:
            high = middle
        else:
            low = middle + 1
    return low


def lower_bound_rank(share: float, samples: int, confidence_one_sided: float) -> int | None:
    """Largest rank whose order statistic is at most the percentile with the given confidence, or None."""
    if samples < 1 or 1.0 - binomial_cdf(0, samples, share) < confidence_one_sided:
        return None
    low, high = 1, samples
    while low < high:
        middle = (low + high + 1) // 2
        if 1.0 - binomial_cdf(middle - 1, samples, share) >= confidence_one_sided:
            low = middle
        else:
            high = middle - 1
    return low


def percentile_estimates(
    values: ArrayLike,
    shares: Sequence[float],
    *,
    confidence: float = 0.95,
    design_effect: float = 1.0,
) -> tuple[PercentileEstimate, ...]:
    """Estimate several percentiles of one array with one partial sort.

    Args:
        values: raw measurements in any unit, not sorted; integers or floats.
        shares: percentiles as shares, such as (0.50, 0.95, 0.99).
        confidence: two-sided confidence of each interval (0..1).
        design_effect: factor >= 1 by which values that cluster in time carry less information than independent ones;
            see `dependence.exceedance_design_effect`. The interval is that of `len(values) / design_effect` values.

    Returns: one estimate per share, in the order given. An empty array gives estimates without value or bounds.

    Raises ValueError for non-finite values or parameters out of range.
    """
    vector = finite_vector(values, "values")
    share_between_0_and_1(confidence, "confidence")
    if not design_effect >= 1.0:
        raise ValueError(f"design_effect: {design_effect}, must be at least 1")
    samples = int(vector.size)
    effective = int(samples // design_effect)
    one_sided = (1.0 + confidence) / 2.0
    ranks: list[tuple[int | None, int | None, int | None]] = []
    for share in shares:
        share_between_0_and_1(share, "share")
        ranks.append(
            (
                order_statistic_rank(share, samples) if samples else None,
                _scaled(lower_bound_rank(share, effective, one_sided), effective, samples, upwards=False),
                _scaled(upper_bound_rank(share, effective, one_sided), effective, samples, upwards=True),
            )
        )
    wanted = sorted({rank - 1 for triple in ranks for rank in triple if rank is not None})
    ordered = np.partition(vector, wanted) if wanted else vector

    def at(rank: int | None) -> float | None:
        return None if rank is None else float(ordered[rank - 1])

    return tuple(
        PercentileEstimate(share, samples, effective, at(point), at(lower), at(upper), confidence)
        for share, (point, lower, upper) in zip(shares, ranks, strict=True)
    )


def _scaled(rank: int | None, effective: int, samples: int, *, upwards: bool) -> int | None:
    """Carry a rank among `effective` values over to the same share of `samples` values, rounding outwards."""
    if rank is None or effective == samples:
        return rank
    if upwards:
        return min(samples, math.ceil(rank * samples / effective))
    return max(1, math.floor(rank * samples / effective))


def percentile_estimate(
    values: ArrayLike, share: float, *, confidence: float = 0.95, design_effect: float = 1.0
) -> PercentileEstimate:
    """Estimate one percentile; see `percentile_estimates`."""
    return percentile_estimates(values, (share,), confidence=confidence, design_effect=design_effect)[0]


def compare_to_limit(estimate: PercentileEstimate, limit: float) -> Side:
    """Say whether the true percentile is below or above `limit` (same unit), or whether the interval leaves it open.

    BELOW: the upper bound is at most the limit (exactly at the limit keeps the budget). ABOVE: the lower bound is
    beyond it. OPEN: the interval straddles the limit, or a bound does not exist for want of samples.
    """
    return side_of_limit(estimate.lower, estimate.upper, limit)


@dataclass(frozen=True, slots=True)
class WindowPercentile:
    """Percentile of one time window; `start_s` and `end_s` are on the clock of the times that were given."""

    start_s: float
    end_s: float
    estimate: PercentileEstimate


@dataclass(frozen=True, slots=True)
class WindowedPercentiles:
    """Percentiles of consecutive windows, and where they lie against a limit as a whole.

    `side` is ABOVE when some window is beyond the limit at a confidence shared out over all windows (Bonferroni: one
    window in forty would exceed a 97.5 % bound by luck), BELOW when every window is below at its own confidence, OPEN
    otherwise. `worst` is the window with the largest percentile, or None where no window has a sample.
    """

    windows: tuple[WindowPercentile, ...]
    worst: WindowPercentile | None
    side: Side


def window_edges(start_s: float, end_s: float, window_s: float) -> FloatArray:
    """Edges of consecutive windows of `window_s` seconds from `start_s` to `end_s`.

    A remainder shorter than half a window joins the window before it, a longer one stands for itself, so that no
    measurement is left out and no window is judged on a sliver.
    """
    if not window_s > 0.0:
        raise ValueError(f"window_s: {window_s}, must be above 0 s")
    if not end_s > start_s:
        raise ValueError(f"end_s: {end_s} must be after start_s: {start_s}")
    whole = max(1, math.floor((end_s - start_s) / window_s + 0.5))
    if whole > MOST_WINDOWS:
        raise ValueError(f"window_s: {window_s} s makes {whole} windows, at most {MOST_WINDOWS} are judged")
    edges = start_s + window_s * np.arange(whole + 1, dtype=np.float64)
    edges[-1] = end_s
    return edges


def windowed_percentiles(
    times_s: ArrayLike,
    values: ArrayLike,
    share: float,
    *,
    limit: float,
    start_s: float,
    end_s: float,
    window_s: float = 300.0,
    confidence: float = 0.95,
) -> WindowedPercentiles:
    """Judge one percentile in every window of a phase, and name the worst.

    A window has the design effect that is common to all, or its own where that is worse beyond chance: calls that were
    slow together in one window say nothing about how well another one is known.

    Args:
        times_s: when each value was due (intended start), in seconds on any one clock; any order.
        values: measurement at each time; same length.
        share: percentile as a share.
        limit: budget in the unit of the values.
        start_s, end_s: the phase on the clock of `times_s`; values outside are not judged.
        window_s: length of a window in seconds; see `window_edges` for the remainder.
        confidence: as in `percentile_estimates`.

    Raises ValueError for unequal lengths, non-finite values or an empty phase.
    """
    times = finite_vector(times_s, "times_s")
    vector = finite_vector(values, "values")
    same_length(times, vector, "times_s and values")
    edges = window_edges(start_s, end_s, window_s)
    slot = np.searchsorted(edges, times, side="right") - 1
    slot[times == edges[-1]] = len(edges) - 2
    inside = (slot >= 0) & (slot <= len(edges) - 2)
    # Numpy's stable sort of small unsigned integers is a radix sort: linear in the number of requests.
    order = np.argsort(slot[inside].astype(np.uint16), kind="stable")
    grouped, grouped_times = vector[inside][order], times[inside][order]
    bounds = np.concatenate(([0], np.cumsum(np.bincount(slot[inside], minlength=len(edges) - 1))))
    count = len(edges) - 1
    shared_confidence = 1.0 - (1.0 - confidence) / count
    windows: list[WindowPercentile] = []
    sides: list[Side] = []
    parts = [slice(bounds[index], bounds[index + 1]) for index in range(count)]
    effects = design_effects_of_windows(
        [exceedance_design_effect(grouped_times[part], grouped[part], share) for part in parts],
        [math.ceil(length_s / BLOCK_S) for length_s in np.diff(edges)],
    )
    for index, effect in enumerate(effects):
        part = grouped[parts[index]]
        estimate = percentile_estimate(part, share, confidence=confidence, design_effect=effect)
        windows.append(WindowPercentile(float(edges[index]), float(edges[index + 1]), estimate))
        side = compare_to_limit(estimate, limit)
        if side is Side.ABOVE and count > 1:
            strict = percentile_estimate(part, share, confidence=shared_confidence, design_effect=effect)
            side = compare_to_limit(strict, limit)
        sides.append(side)
    with_value = [window for window in windows if window.estimate.value is not None]
    worst = max(with_value, key=lambda window: window.estimate.value or 0.0, default=None)
    if Side.ABOVE in sides:
        overall = Side.ABOVE
    elif all(side is Side.BELOW for side in sides):
        overall = Side.BELOW
    else:
        overall = Side.OPEN
    return WindowedPercentiles(tuple(windows), worst, overall)
