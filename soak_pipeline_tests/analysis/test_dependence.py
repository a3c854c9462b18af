from __future__ import annotations

import math

import numpy as np
import pytest

from soak_pipeline.analysis.dependence import (
    LARGEST_R1,
    careful_r1,
    design_effects_of_windows,
    effective_degrees_of_freedom,
    exceedance_design_effect,
    lag1_autocorrelation,
    unbiased_r1,
    variance_inflation,
)
from soak_pipeline.analysis.simulation import ar1_noise


def test_r1_by_hand() -> None:
    # Residuals 1, -1, 1, -1: neighbours multiply to -1 three times, squares sum to 4.
    assert lag1_autocorrelation([1.0, -1.0, 1.0, -1.0]) == pytest.approx(-0.75)
    assert lag1_autocorrelation([1.0, 1.0, -1.0, -1.0]) == pytest.approx(0.25)


def test_pairs_across_a_gap_do_not_count() -> None:
    assert lag1_autocorrelation([1.0, 1.0, -1.0, -1.0], adjacent=[True, False, True]) == pytest.approx(0.75)
    assert lag1_autocorrelation([1.0, 2.0, 3.0], adjacent=[False, False]) == 0.0


def test_no_variation_has_no_autocorrelation() -> None:
    assert lag1_autocorrelation([0.0] * 10) == 0.0
    assert lag1_autocorrelation([1.0, 2.0]) == 0.0


@pytest.mark.parametrize("phi", [0.3, 0.5, 0.8])
def test_the_correction_removes_the_bias_of_a_detrended_series(phi: float) -> None:
    random = np.random.default_rng(2)
    points, raw, corrected = 60, [], []
    axis = np.arange(points)
    for _ in range(1500):
        noise = ar1_noise(random, points, phi)
        residuals = noise - np.polyval(np.polyfit(axis, noise, 1), axis)
        raw.append(lag1_autocorrelation(residuals))
        corrected.append(unbiased_r1(raw[-1], points))
    assert abs(np.mean(corrected) - phi) < 0.04
    assert abs(np.mean(corrected) - phi) < abs(np.mean(raw) - phi)


def test_r1_stays_in_its_range() -> None:
    assert unbiased_r1(-0.5, 100) == 0.0
    assert unbiased_r1(1.0, 20) == LARGEST_R1
    assert unbiased_r1(0.0, 5) == LARGEST_R1
    assert careful_r1(0.0, 100) > unbiased_r1(0.0, 100)
    assert careful_r1(0.999, 50) == LARGEST_R1


def test_inflation_by_hand() -> None:
    assert variance_inflation(0.0) == 1.0
    assert variance_inflation(0.5) == pytest.approx(3.0)
    assert effective_degrees_of_freedom(60, 0.5, 2) == pytest.approx(18.0)
    assert effective_degrees_of_freedom(5, 0.95, 2) == 1.5


def test_independent_requests_have_no_design_effect_and_stalls_do() -> None:
    random = np.random.default_rng(4)
    times = np.sort(random.uniform(0.0, 600.0, 12_000))
    values = np.exp(0.3 * random.standard_normal(12_000))
    assert exceedance_design_effect(times, values, 0.95) < 2.0
    stalled = np.where(times % 100.0 < 5.0, values * 5.0, values)
    # All of the slowest requests lie in 6 of 40 blocks of 300 requests: far from independent.
    assert exceedance_design_effect(times, stalled, 0.95) > 20.0


def test_design_effect_of_whole_blocks_is_about_their_size() -> None:
    random = np.random.default_rng(9)
    blocks = random.random(200) < 0.1
    values = np.repeat(np.where(blocks, 2.0, 1.0), 50) + 1e-3 * random.random(10_000)
    times = np.repeat(np.arange(200) * 15.0, 50)
    share = 1.0 - float(blocks.mean())
    assert exceedance_design_effect(times, values, share) == pytest.approx(50.0, rel=0.15)


def test_few_blocks_claim_nothing() -> None:
    assert exceedance_design_effect(np.linspace(0, 60, 500), np.arange(500.0), 0.95) == 1.0
    assert math.isclose(exceedance_design_effect([], [], 0.95), 1.0)
    assert exceedance_design_effect(np.arange(1000.0), np.ones(1000), 0.95) == 1.0


def test_values_that_all_ran_into_one_timeout_together_have_a_design_effect() -> None:
    times = np.arange(6000.0) / 10.0
    values = np.full(6000, 40.0)
    values[2000:2450] = 30_000.0
    assert exceedance_design_effect(times, values, 0.95) > 100.0


def test_a_window_has_the_common_design_effect_unless_its_own_is_beyond_chance() -> None:
    # Chi-square with 19 degrees of freedom exceeds 41.61 in one of five hundred cases: a hundredth, over five windows.
    at_the_limit = 1.2 * 41.6103 / 19
    assert design_effects_of_windows([1.0, 1.2, 1.4, 2.2, 1.1], [20] * 5) == [1.2] * 5
    assert design_effects_of_windows([1.0, 1.2, 1.2, at_the_limit * 0.999, 1.1], [20] * 5) == [1.2] * 5
    worse = at_the_limit * 1.001
    assert design_effects_of_windows([1.1, 1.2, 1.4, worse, 1.1], [20] * 5) == [1.2, 1.2, 1.2, worse, 1.2]


def test_the_only_window_has_its_own_design_effect() -> None:
    assert design_effects_of_windows([7.0], [20]) == [7.0]
    assert design_effects_of_windows([1.0], [1]) == [1.0]
