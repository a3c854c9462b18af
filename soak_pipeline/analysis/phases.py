"""One long baseline against one long burst, where windows were not interleaved.

Owns the classic comparison and its honesty about drift. A platform that slows down by itself makes every later phase
look worse, and a queue that builds up during a burst looks like drift; two long phases cannot tell these apart. So two
estimates are made from short sub-windows, one as measured and one with a common linear drift removed, and a decision
is taken only where both agree. It never decides over several tenants; interleaved pairs (`fairness`) do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import (
    FloatArray,
    finite_vector,
    positive_vector,
    same_length,
    share_between_0_and_1,
)
from soak_pipeline.analysis.decision import Decision, Side, side_of_limit
from soak_pipeline.analysis.dependence import (
    effective_degrees_of_freedom,
    lag1_autocorrelation,
    unbiased_r1,
    variance_inflation,
)
from soak_pipeline.analysis.distributions import student_t_quantile
from soak_pipeline.analysis.percentiles import order_statistic_rank

FEWEST_SUB_WINDOWS = 8
# A phase may lose a few sub-windows to too few samples, as at its edges, before it counts as not measured.
LARGEST_UNUSABLE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class RatioInterval:
    """A ratio with one-sided bounds at the level of the comparison."""

    ratio: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class PhaseComparison:
    """Decision for one tenant from two long phases.

    `as_measured` compares the phases directly, `without_drift` after removing a common linear drift. None where too
    few sub-windows hold enough samples.
    """

    decision: Decision
    as_measured: RatioInterval | None
    without_drift: RatioInterval | None
    confidence: float
    limit: float
    sub_windows_baseline: int
    sub_windows_burst: int
    reason: str


def compare_phases(
    baseline_times_s: ArrayLike,
    baseline: ArrayLike,
    burst_times_s: ArrayLike,
    burst: ArrayLike,
    *,
    limit: float,
    share: float = 0.99,
    sub_window_s: float = 10.0,
    minimum_samples: int = 100,
    alpha: float = 0.05,
) -> PhaseComparison:
    """Compare a percentile between a long baseline and a long burst.

    Args:
        baseline_times_s, burst_times_s: intended start of each request in seconds, one clock for both phases.
        baseline, burst: latencies of the judged requests, same unit, above 0.
        limit: largest allowed ratio.
        share: percentile as a share.
        sub_window_s: length of the sub-windows in seconds; long enough for `minimum_samples` requests.
        minimum_samples: fewest requests in a sub-window that is used.
        alpha: one-sided error of each bound; divide by the number of tenants to correct a FAIL over them.

    Returns: PASS when both estimates' upper bounds are at most the limit, FAIL when both lower bounds are beyond it,
    OPEN otherwise or with too few sub-windows.

    Raises ValueError for unequal lengths, values that are not finite or latencies that are not above zero.
    """
    share_between_0_and_1(alpha, "alpha")
    if not limit > 0.0 or not sub_window_s > 0.0:
        raise ValueError(f"limit {limit} and sub_window_s {sub_window_s} must be above 0")
    before = _sub_windows(baseline_times_s, baseline, share, sub_window_s, minimum_samples, "baseline")
    after = _sub_windows(burst_times_s, burst, share, sub_window_s, minimum_samples, "burst")
    confidence = 1.0 - 2.0 * alpha
    counts = (before.middles_s.size, after.middles_s.size)
    if min(counts) < FEWEST_SUB_WINDOWS or max(before.unusable_share, after.unusable_share) > LARGEST_UNUSABLE_SHARE:
        reason = (
            f"usable sub-windows: baseline {counts[0]} ({before.unusable_share:.0%} lost), burst {counts[1]} "
            f"({after.unusable_share:.0%} lost); at least {FEWEST_SUB_WINDOWS} each and at most "
            f"{LARGEST_UNUSABLE_SHARE:.0%} lost are needed"
        )
        return PhaseComparison(Decision.OPEN, None, None, confidence, limit, *counts, reason)
    measured = _ratio_of_phases(before, after, alpha, sub_window_s, remove_drift=False)
    adjusted = _ratio_of_phases(before, after, alpha, sub_window_s, remove_drift=True)
    sides = {side_of_limit(estimate.lower, estimate.upper, limit) for estimate in (measured, adjusted)}
    if sides == {Side.BELOW}:
        decision, reason = Decision.PASS, f"both upper bounds are at most the limit {limit:g}"
    elif sides == {Side.ABOVE}:
        decision, reason = Decision.FAIL, f"both lower bounds are above the limit {limit:g}"
    elif Side.OPEN not in sides:
        decision, reason = Decision.OPEN, "the phases differ, but drift would explain it as well; interleave them"
    else:
        decision, reason = Decision.OPEN, f"an interval holds the limit {limit:g}"
    return PhaseComparison(decision, measured, adjusted, confidence, limit, *counts, reason)


@dataclass(frozen=True, slots=True)
class _SubWindows:
    middles_s: FloatArray
    log_percentiles: FloatArray
    unusable_share: float


def _sub_windows(
    times_s: ArrayLike, values: ArrayLike, share: float, sub_window_s: float, minimum_samples: int, name: str
) -> _SubWindows:
    times, vector = finite_vector(times_s, f"{name} times_s"), positive_vector(values, name)
    same_length(times, vector, f"{name} times_s and latencies")
    if not times.size:
        return _SubWindows(np.empty(0), np.empty(0), 1.0)
    start = float(times.min())
    # A remainder of less than 95 % of a sub-window is left out; the last request comes a little before the end.
    count = max(1, int((float(times.max()) - start) / sub_window_s + 0.05))
    slot = ((times - start) // sub_window_s).astype(np.int64)
    middles: list[float] = []
    logs: list[float] = []
    order = np.argsort(slot, kind="stable")
    bounds = np.searchsorted(slot[order], np.arange(count + 1))
    grouped = vector[order]
    for index in range(count):
        part = grouped[bounds[index] : bounds[index + 1]]
        if part.size < max(1, minimum_samples):
            continue
        rank = order_statistic_rank(share, int(part.size))
        logs.append(math.log(float(np.partition(part, rank - 1)[rank - 1])))
        middles.append(start + (index + 0.5) * sub_window_s)
    return _SubWindows(np.array(middles), np.array(logs), 1.0 - len(logs) / count)


def _ratio_of_phases(
    before: _SubWindows, after: _SubWindows, alpha: float, sub_window_s: float, *, remove_drift: bool
) -> RatioInterval:
    """Least squares of log percentiles on phase (and time), with a t interval widened for dependence."""
    times = np.concatenate((before.middles_s, after.middles_s))
    logs = np.concatenate((before.log_percentiles, after.log_percentiles))
    in_burst = np.concatenate((np.zeros(before.middles_s.size), np.ones(after.middles_s.size)))
    columns = [np.ones(times.size), in_burst]
    if remove_drift:
        columns.append((times - times.mean()) / (times.max() - times.min()))
    design = np.stack(columns, axis=1)
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ logs
    residuals = logs - design @ coefficients
    adjacent = (np.diff(times) > 0.0) & (np.diff(times) <= 1.5 * sub_window_s)
    phi = unbiased_r1(lag1_autocorrelation(residuals, adjacent=adjacent), times.size)
    degrees = effective_degrees_of_freedom(times.size, phi, len(columns))
    variance = float(residuals @ residuals) / (times.size - len(columns))
    error = math.sqrt(variance * float(inverse[1, 1]) * variance_inflation(phi))
    half = error * student_t_quantile(1.0 - alpha, degrees)
    effect = float(coefficients[1])
    return RatioInterval(math.exp(effect), math.exp(effect - half), math.exp(effect + half))
