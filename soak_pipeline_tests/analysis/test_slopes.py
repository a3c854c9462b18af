from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.analysis.dependence import lag1_autocorrelation, unbiased_r1
from soak_pipeline.analysis.series import Series, cleaned
from soak_pipeline.analysis.simulation import ar1_noise
from soak_pipeline.analysis.slopes import estimate_slope, estimate_slope_beside, mann_kendall, theil_sen_slope


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(-1000, 1000)), min_size=2, max_size=25))
def test_theil_sen_is_the_median_of_all_slopes(points: list[tuple[int, int]]) -> None:
    points = sorted(points)
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x2 > x1]
    times = np.array([x for x, _ in points], dtype=np.float64)
    values = np.array([y for _, y in points], dtype=np.float64)
    expected = float(np.median(slopes)) if slopes else 0.0
    assert theil_sen_slope(times, values) == pytest.approx(expected)


def test_mann_kendall_by_hand() -> None:
    # 1 3 2 4 5: nine rises, one fall, S = 8; variance 5*4*15/18 = 16.667; z = 7/4.0825.
    result = mann_kendall(np.array([1.0, 3.0, 2.0, 4.0, 5.0]))
    assert result.s == 8
    assert result.z == pytest.approx(7 / math.sqrt(5 * 4 * 15 / 18))
    assert result.p_value_growth == pytest.approx(0.5 * math.erfc(result.z / math.sqrt(2)))


def test_mann_kendall_corrects_for_ties() -> None:
    # 1 1 2 3: five rises and one tie; variance (4*3*13 - 2*1*9)/18 = 7.667.
    result = mann_kendall(np.array([1.0, 1.0, 2.0, 3.0]))
    assert result.s == 5
    assert result.z == pytest.approx(4 / math.sqrt((4 * 3 * 13 - 2 * 1 * 9) / 18))


def test_mann_kendall_of_a_constant_says_nothing() -> None:
    result = mann_kendall(np.full(20, 7.0))
    assert (result.s, result.z, result.p_value_growth) == (0, 0.0, 1.0)


def test_deflation_divides_z() -> None:
    values = np.arange(30.0)
    assert mann_kendall(values, phi=0.6).z == pytest.approx(mann_kendall(values).z / 2.0)


@pytest.mark.parametrize(
    ("phi", "plain", "deflated"), [(0.0, 0.05, 0.06), (0.5, 0.21, 0.04), (0.8, 0.51, 0.05), (0.95, 0.68, 0.12)]
)
def test_false_alarms_of_mann_kendall_are_the_known_ones(phi: float, plain: float, deflated: float) -> None:
    """Two-sided 5 %, 60 points of AR(1) without trend; the reference figures come from an independent simulation."""
    random = np.random.default_rng(1)
    repetitions, axis = 800, np.arange(60.0)
    alarms_plain = alarms_deflated = 0
    for _ in range(repetitions):
        values = ar1_noise(random, 60, phi)
        residuals = values - theil_sen_slope(axis, values) * axis
        r1 = unbiased_r1(lag1_autocorrelation(residuals - residuals.mean()), 60)
        alarms_plain += abs(mann_kendall(values).z) > 1.96
        alarms_deflated += abs(mann_kendall(values, phi=r1).z) > 1.96
    assert alarms_plain / repetitions == pytest.approx(plain, abs=0.05)
    assert alarms_deflated / repetitions == pytest.approx(deflated, abs=0.04)


def test_a_perfect_line_has_no_error_and_infinite_effect() -> None:
    slope = estimate_slope(cleaned(np.arange(30.0), 5.0 + 2.0 * np.arange(30.0)))
    assert slope.slope_per_s == pytest.approx(2.0)
    assert (slope.standard_error_per_s, slope.noise_sd, slope.phi) == (0.0, 0.0, 0.0)
    assert slope.p_value_growth == 0.0
    assert slope.effect_sd == math.inf


def test_a_constant_does_not_grow() -> None:
    slope = estimate_slope(cleaned(np.arange(30.0), np.full(30, 5.5)))
    assert (slope.slope_per_s, slope.effect_sd, slope.p_value_growth) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_interval_of_the_slope_covers(phi: float) -> None:
    random = np.random.default_rng(3)
    axis, missed = np.arange(100.0), 0
    for _ in range(600):
        slope = estimate_slope(cleaned(axis, 0.02 * axis + ar1_noise(random, 100, phi)))
        missed += abs(slope.slope_per_s - 0.02) > slope.half_width_per_s(0.95)
    assert missed / 600 <= 0.13


def test_slope_beside_a_shape_is_what_the_shape_leaves() -> None:
    times = np.arange(100.0)
    shape = 1.0 - np.exp(-times / 10.0)
    slope = estimate_slope_beside(cleaned(times, 5.0 + 40.0 * shape + 0.3 * times), shape[:, None])
    assert slope.slope_per_s == pytest.approx(0.3)
    assert slope.noise_sd < 1e-6


def test_fewer_than_three_points_have_no_error() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        estimate_slope(Series(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 1.0))
