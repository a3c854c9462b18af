"""Is a candidate run better or worse than a reference run?

Owns the ratio of two runs' levels of one metric with its interval, and the four answers. It never knows which metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import FloatArray, positive_vector, share_between_0_and_1
from soak_pipeline.analysis.dependence import (
    effective_degrees_of_freedom,
    lag1_autocorrelation,
    unbiased_r1,
    variance_inflation,
)
from soak_pipeline.analysis.distributions import student_t_quantile

FEWEST_WINDOWS = 4
# Windows of minutes are less dependent than this; a handful of them cannot measure more.
LARGEST_PHI = 0.6


class Change(StrEnum):
    """How a candidate compares with a reference."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Ratio candidate / reference of geometric means with its two-sided interval; None with too few windows."""

    change: Change
    ratio: float | None
    lower: float | None
    upper: float | None
    margin: float
    confidence: float


def compare_runs(
    reference: ArrayLike,
    candidate: ArrayLike,
    *,
    margin: float = 0.05,
    confidence: float = 0.95,
    between_runs_log_sd: float = 0.0,
    larger_is_worse: bool = True,
) -> RunComparison:
    """Compare one metric, measured in several windows of each run.

    Args:
        reference, candidate: one value above 0 per window in the order of time, such as the p95 of every five minutes.
        margin: relative difference that counts as none; 0.05 takes ratios from 1/1.05 to 1.05 as the same.
        confidence: two-sided confidence of the interval.
        between_runs_log_sd: standard deviation of the logarithm of the metric between runs of the same release, if
            known from history. Windows of one run do not show it, and without it two lucky runs can look different.
        larger_is_worse: True for latencies and errors, False for throughput.

    Returns: WORSE or BETTER when the whole interval lies beyond the margin, SAME when it lies within, UNKNOWN
    otherwise.

    Raises ValueError for values that are not finite and above zero, or a margin that is not above zero.
    """
    share_between_0_and_1(confidence, "confidence")
    if not margin > 0.0 or not between_runs_log_sd >= 0.0:
        raise ValueError(f"margin {margin} must be above 0 and between_runs_log_sd {between_runs_log_sd} at least 0")
    before = np.log(positive_vector(reference, "reference"))
    after = np.log(positive_vector(candidate, "candidate"))
    if min(before.size, after.size) < FEWEST_WINDOWS:
        return RunComparison(Change.UNKNOWN, None, None, None, margin, confidence)
    variance_before, degrees_before = _variance_of_mean(before)
    variance_after, degrees_after = _variance_of_mean(after)
    within = variance_before + variance_after
    error = math.sqrt(within + 2.0 * between_runs_log_sd**2)
    # Welch and Satterthwaite: the degrees of freedom of a sum of variances known from different numbers of values.
    spread = variance_before**2 / degrees_before + variance_after**2 / degrees_after
    degrees = within**2 / spread if spread > 0.0 else degrees_before + degrees_after
    half = error * student_t_quantile((1.0 + confidence) / 2.0, degrees)
    effect = float(after.mean() - before.mean())
    low, high = effect - half, effect + half
    change = _change(low, high, math.log1p(margin), larger_is_worse)
    return RunComparison(change, math.exp(effect), math.exp(low), math.exp(high), margin, confidence)


def _variance_of_mean(values: FloatArray) -> tuple[float, float]:
    """Variance of the mean of dependent values, and the degrees of freedom it is known with."""
    residuals = values - float(values.mean())
    phi = min(LARGEST_PHI, unbiased_r1(lag1_autocorrelation(residuals), int(values.size), parameters=1))
    variance = float(values.var(ddof=1)) / values.size * variance_inflation(phi)
    return variance, effective_degrees_of_freedom(int(values.size), phi, 1)


def _change(low: float, high: float, log_margin: float, larger_is_worse: bool) -> Change:
    if low > log_margin:
        return Change.WORSE if larger_is_worse else Change.BETTER
    if high < -log_margin:
        return Change.BETTER if larger_is_worse else Change.WORSE
    if -log_margin <= low and high <= log_margin:
        return Change.SAME
    return Change.UNKNOWN
