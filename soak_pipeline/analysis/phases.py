"""One long baseline against one long burst, where windows were not interleaved.

Owns the classic comparison and its honesty about drift. A platform that slows down by itself makes every later phase
look worse, and a queue that builds up during a burst looks like drift; two long phases cannot tell these apart. So two
estimates are made from short sub-windows, one as measured and one with a common linear drift removed, and a decision
is taken only where both agree. It never decides over several tenants; interleaved pairs (`fairness`) do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

Spans = Sequence[tuple[float, float]]

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

    `as_measured` compares the phases directly, `without_drift` after removing a common linear drift.
    `percentile_baseline` and `percentile_burst` are geometric means over the sub-windows, in the unit of the latencies;
    their quotient is the ratio as measured. None where too few sub-windows hold enough samples.
    """

    decision: Decision
    as_measured: RatioInterval | None
    without_drift: RatioInterval | None
    confidence: float
    limit: float
    sub_windows_baseline: int
    sub_windows_burst: int
    reason: str
    percentile_baseline: float | None = None
    percentile_burst: float | None = None


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
    baseline_spans_s: Spans | None = None,
    burst_spans_s: Spans | None = None,
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
        baseline_spans_s, burst_spans_s: planned (start, end) of each stretch of the phase on the same clock. Give them
            where a phase is made of several stretches, such as the baseline windows against one long burst, and to
            notice a phase that ended early. None takes one span from the first request to the last.

    Returns: PASS when both estimates' upper bounds are at most the limit, FAIL when both lower bounds are beyond it,
    OPEN otherwise or with too few sub-windows.

    Raises ValueError for unequal lengths, values that are not finite or latencies that are not above zero.
    """
    share_between_0_and_1(alpha, "alpha")
    if not limit > 0.0 or not sub_window_s > 0.0:
        raise ValueError(f"limit {limit} and sub_window_s {sub_window_s} must be above 0")
    cut = _Cut(share, sub_window_s, minimum_samples)
    before = _sub_windows(baseline_times_s, baseline, cut, baseline_spans_s, "baseline")
    after = _sub_windows(burst_times_s, burst, cut, burst_spans_s, "burst")
    confidence = 1.0 - 2.0 * alpha
    counts = (before.middles_s.size, after.middles_s.size)
    if min(counts) < FEWEST_SUB_WINDOWS or max(before.unusable_share, after.unusable_share) > LARGEST_UNUSABLE_SHARE:
        reason = (
            f"usable sub-windows: baseline {counts[0]} ({100 * before.unusable_share:.0f} % lost), burst {counts[1]} "
            f"({100 * after.unusable_share:.0f} % lost); at least {FEWEST_SUB_WINDOWS} each and at most "
            f"{100 * LARGEST_UNUSABLE_SHARE:.0f} % lost are needed"
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
    levels = (math.exp(float(part.log_percentiles.mean())) for part in (before, after))
    return PhaseComparison(decision, measured, adjusted, confidence, limit, *counts, reason, *levels)


@dataclass(frozen=True, slots=True)
class _SubWindows:
    middles_s: FloatArray
    log_percentiles: FloatArray
    unusable_share: float


@dataclass(frozen=True, slots=True)
class _Cut:
    """How sub-windows are made."""

    share: float
    length_s: float
    minimum_samples: int


def whole_sub_windows(span_s: float, length_s: float) -> int:
    """How many sub-windows of `length_s` seconds a span of `span_s` seconds holds.

    A remainder of less than 95 % of one is left out; the last request comes a little before the end.
    """
    return int(span_s / length_s + 0.05)


def _sub_windows(times_s: ArrayLike, values: ArrayLike, cut: _Cut, spans_s: Spans | None, name: str) -> _SubWindows:
    """Percentile of every sub-window of every span; sub-windows are laid from the start of each span."""
    times, vector = finite_vector(times_s, f"{name} times_s"), positive_vector(values, name)
    same_length(times, vector, f"{name} times_s and latencies")
    if not times.size:
        return _SubWindows(np.empty(0), np.empty(0), 1.0)
    if spans_s is None:
        spans_s = [(float(times.min()), float(times.max()))]
    order = np.argsort(times, kind="stable")
    times, vector = times[order], vector[order]
    middles: list[float] = []
    logs: list[float] = []
    planned = 0
    for start_s, end_s in sorted(spans_s):
        count = whole_sub_windows(end_s - start_s, cut.length_s)
        planned += count
        edges = np.searchsorted(times, start_s + cut.length_s * np.arange(count + 1))
        for index in range(count):
            part = vector[edges[index] : edges[index + 1]]
            if part.size < max(1, cut.minimum_samples):
                continue
            rank = order_statistic_rank(cut.share, int(part.size))
            logs.append(math.log(float(np.partition(part, rank - 1)[rank - 1])))
            middles.append(start_s + (index + 0.5) * cut.length_s)
    return _SubWindows(np.array(middles), np.array(logs), 1.0 - len(logs) / planned if planned else 1.0)


def _ratio_of_phases(
    before: _SubWindows, after: _SubWindows, alpha: float, sub_window_s: float, *, remove_drift: bool
) -> RatioInterval:
    """Least squares of log percentiles on phase (and time), with a t interval widened for dependence."""
    times = np.concatenate((before.middles_s, after.middles_s))
    order = np.argsort(times, kind="stable")
    times = times[order]
    logs = np.concatenate((before.log_percentiles, after.log_percentiles))[order]
    in_burst = np.concatenate((np.zeros(before.middles_s.size), np.ones(after.middles_s.size)))[order]
    columns = [np.ones(times.size), in_burst]
    if remove_drift:
        columns.append((times - times.mean()) / (times.max() - times.min()))
    design = np.stack(columns, axis=1)
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ logs
    residuals = logs - design @ coefficients
    adjacent = np.diff(times) <= 1.5 * sub_window_s
    phi = unbiased_r1(lag1_autocorrelation(residuals, adjacent=adjacent), times.size)
    degrees = effective_degrees_of_freedom(times.size, phi, len(columns))
    variance = float(residuals @ residuals) / (times.size - len(columns))
    error = math.sqrt(variance * float(inverse[1, 1]) * variance_inflation(phi))
    half = error * student_t_quantile(1.0 - alpha, degrees)
    effect = float(coefficients[1])
    return RatioInterval(math.exp(effect), math.exp(effect - half), math.exp(effect + half))
