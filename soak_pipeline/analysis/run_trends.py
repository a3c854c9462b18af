"""Whether a figure drifts from run to run, and whether that is a drift or a change of level.

Owns the trend over a sequence of runs, by the same estimators as the growth within one: Theil-Sen's slope, and the
Mann-Kendall test deflated for autocorrelation. Levels are `changepoints`' part. It never judges whether a trend is
good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import FloatArray, finite_vector, share_between_0_and_1
from soak_pipeline.analysis.changepoints import ChangePoint, change_points
from soak_pipeline.analysis.distributions import normal_cdf
from soak_pipeline.analysis.series import Series
from soak_pipeline.analysis.slopes import estimate_slope, mann_kendall

FEWEST_RUNS = 8
# A significant drift that is smaller than the scatter of single runs is not worth a line.
LEAST_EFFECT_SD = 1.0


@dataclass(frozen=True, slots=True)
class RunTrend:
    """A drift: `slope_per_run` with its two-sided interval, in the unit of the values, and its two-sided p-value."""

    slope_per_run: float
    lower: float
    upper: float
    p_value: float
    runs: int


@dataclass(frozen=True, slots=True)
class RunCourse:
    """How a figure went over a sequence of runs.

    `changes` are those of its level, in order; `trend` is that of the runs from `trend_since` on: since the last
    change, or of all where a drift explains them better than levels do.
    """

    changes: tuple[ChangePoint, ...]
    trend: RunTrend | None
    trend_since: int


def run_course(values: ArrayLike, *, alpha: float = 0.01) -> RunCourse:
    """Changes of level and trend of a sequence of runs.

    A slow drift looks like steps to a search for changes, and a step like a drift to a test for trends. Where both are
    found, the one that explains the runs better for its number of parameters is named (Schwarz' criterion).

    Args:
        values: one value per run, oldest first, any unit.
        alpha: chance of each of the two, where there is none.

    Raises ValueError for values that are not finite.
    """
    vector = finite_vector(values, "values")
    changes = change_points(vector, alpha=alpha)
    drift = run_trend(vector, alpha=alpha)
    if changes and drift is not None:
        levels = np.split(vector, [change.index for change in changes])
        around_levels = np.concatenate([level - level.mean() for level in levels])
        around_line = vector - drift.slope_per_run * np.arange(vector.size)
        around_line -= around_line.mean()
        # A level and its moment are two parameters for each change; a line has two in all.
        if _bic(around_line, 2) < _bic(around_levels, 2 * len(changes) + 1):
            return RunCourse((), drift, 0)
    since = changes[-1].index if changes else 0
    return RunCourse(changes, run_trend(vector[since:], alpha=alpha), since)


def _bic(residuals: FloatArray, parameters: int) -> float:
    """Schwarz' criterion (1978) of a fit with normal noise; smaller is better."""
    runs = residuals.size
    return runs * math.log(float(residuals @ residuals) / runs + 1e-300) + parameters * math.log(runs)


def run_trend(values: ArrayLike, *, alpha: float = 0.01) -> RunTrend | None:
    """The trend of a sequence of runs; None where there is none to speak of, or there are fewer than 8 runs.

    Args:
        values: one value per run, oldest first, any unit.
        alpha: chance of reporting a trend where there is none; the interval has confidence 1 - alpha.

    Raises ValueError for values that are not finite.
    """
    vector = finite_vector(values, "values")
    share_between_0_and_1(alpha, "alpha")
    if vector.size < FEWEST_RUNS:
        return None
    series = Series(np.arange(vector.size, dtype=np.float64), vector, 1.0)
    slope = estimate_slope(series)
    p_value = 2.0 * normal_cdf(-abs(mann_kendall(vector, phi=slope.phi).z))
    if p_value > alpha or abs(slope.effect_sd) < LEAST_EFFECT_SD:
        return None
    half = slope.half_width_per_s(1.0 - alpha / 2.0)
    return RunTrend(slope.slope_per_s, slope.slope_per_s - half, slope.slope_per_s + half, p_value, int(vector.size))
