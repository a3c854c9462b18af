"""How fast a series grows, and whether that is more than its own wandering.

Owns the Theil-Sen slope, an interval that is honest for autocorrelated noise, and the deflated Mann-Kendall test.
Sources: Theil (1950), Sen (JASA 63, 1968); Mann (1945), Kendall (1975); the deflation by the variance inflation of
AR(1) noise follows Hamed and Rao (1998), with the bias-corrected lag-1 autocorrelation of the detrended series. It
never decides anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from soak_pipeline.analysis.arrays import FloatArray
from soak_pipeline.analysis.dependence import (
    careful_r1,
    effective_degrees_of_freedom,
    lag1_autocorrelation,
    variance_inflation,
)
from soak_pipeline.analysis.distributions import normal_cdf, student_t_cdf, student_t_quantile
from soak_pipeline.analysis.series import Series

# Asymptotic variance of the Theil-Sen slope over that of least squares for normal noise.
THEIL_SEN_VARIANCE_FACTOR = math.pi / 3.0


@dataclass(frozen=True, slots=True)
class SlopeEstimate:
    """A slope in units per second with its standard error under AR(1) noise.

    `noise_sd` is the standard deviation around the fit, `phi` the lag-1 autocorrelation of that noise on the careful
    side (`dependence.careful_r1`), `degrees_of_freedom` what is left of the points under that dependence.
    """

    slope_per_s: float
    standard_error_per_s: float
    degrees_of_freedom: float
    phi: float
    noise_sd: float
    duration_s: float

    def half_width_per_s(self, confidence_one_sided: float) -> float:
        """Distance from the slope to its one-sided bound at the given confidence."""
        return self.standard_error_per_s * student_t_quantile(confidence_one_sided, self.degrees_of_freedom)

    @property
    def p_value_growth(self) -> float:
        """One-sided p-value of "it does not grow"."""
        if self.standard_error_per_s <= 0.0:
            return 0.0 if self.slope_per_s > 0.0 else 1.0
        return 1.0 - student_t_cdf(self.slope_per_s / self.standard_error_per_s, self.degrees_of_freedom)

    @property
    def effect_sd(self) -> float:
        """Growth over the observed duration in standard deviations of the noise; infinite for a noiseless rise."""
        growth = self.slope_per_s * self.duration_s
        if self.noise_sd > 0.0:
            return growth / self.noise_sd
        return math.copysign(math.inf, growth) if growth else 0.0


def theil_sen_slope(times_s: FloatArray, values: FloatArray) -> float:
    """Median of the slopes between all pairs of points, per second; 0 for fewer than two distinct times.

    Quadratic in the number of points; meant for at most about a thousand.
    """
    first, second = np.triu_indices(times_s.size, k=1)
    run = times_s[second] - times_s[first]
    rise = values[second] - values[first]
    apart = run > 0.0
    return float(np.median(rise[apart] / run[apart])) if apart.any() else 0.0


def estimate_slope(series: Series) -> SlopeEstimate:
    """Theil-Sen slope of a series with its standard error.

    Raises ValueError for fewer than three points.
    """
    if series.times_s.size < 3:
        raise ValueError(f"series: {series.times_s.size} points, a slope with an error needs at least 3")
    slope = theil_sen_slope(series.times_s, series.values)
    residuals = series.values - slope * series.times_s
    residuals = residuals - float(np.mean(residuals))
    centred = series.times_s - float(np.mean(series.times_s))
    unit_variance = THEIL_SEN_VARIANCE_FACTOR / float(centred @ centred)
    return _with_error(series, slope, residuals, unit_variance, parameters=2)


def estimate_slope_beside(series: Series, shape_columns: FloatArray) -> SlopeEstimate:
    """Least-squares slope of a linear part that stands beside the given shape columns (one row per point).

    For a series that also settles: what remains of growth once the settling is explained.
    """
    duration = series.duration_s
    scaled_time = (series.times_s - series.times_s[0]) / duration
    design = np.column_stack((np.ones(scaled_time.size), scaled_time, shape_columns))
    inverse = np.linalg.pinv(design.T @ design)
    coefficients = inverse @ design.T @ series.values
    residuals = series.values - design @ coefficients
    unit_variance = float(inverse[1, 1]) / duration**2
    return _with_error(series, float(coefficients[1]) / duration, residuals, unit_variance, design.shape[1])


def _with_error(
    series: Series, slope: float, residuals: FloatArray, unit_variance: float, parameters: int
) -> SlopeEstimate:
    points = int(series.times_s.size)
    # Rounding leaves residuals of about 1e-16 of the values; they are no noise and have no autocorrelation.
    largest = float(np.abs(series.values).max())
    if float(np.abs(residuals).max()) <= 1e-12 * max(largest, 1e-300):
        residuals = np.zeros(points)
    noise_sd = math.sqrt(float(residuals @ residuals) / max(1, points - parameters))
    phi = careful_r1(lag1_autocorrelation(residuals, adjacent=series.adjacent), points) if noise_sd > 0.0 else 0.0
    error = noise_sd * math.sqrt(unit_variance * variance_inflation(phi))
    degrees = effective_degrees_of_freedom(points, phi, parameters)
    return SlopeEstimate(slope, error, degrees, phi, noise_sd, series.duration_s)


@dataclass(frozen=True, slots=True)
class MannKendall:
    """Mann-Kendall statistic S, its z after deflation, and the one-sided p-value of "it does not grow"."""

    s: int
    z: float
    p_value_growth: float


def mann_kendall(values: FloatArray, *, phi: float = 0.0) -> MannKendall:
    """Mann-Kendall test with correction for ties, deflated for noise of lag-1 autocorrelation `phi`.

    `phi` 0 is the plain test. A series without variation gives z 0 and p-value 1.
    """
    first, second = np.triu_indices(values.size, k=1)
    s = int(np.sum(np.sign(values[second] - values[first])))
    n = values.size
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float(np.sum(ties * (ties - 1.0) * (2.0 * ties + 5.0)))) / 18.0
    if variance <= 0.0:
        return MannKendall(s, 0.0, 1.0)
    z = (s - np.sign(s)) / math.sqrt(variance * variance_inflation(phi))
    return MannKendall(s, float(z), normal_cdf(-float(z)))
