from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from soak_pipeline.analysis.changepoints import change_points
from soak_pipeline.analysis.run_trends import run_course, run_trend
from soak_pipeline.analysis.simulation import ar1_noise


def test_a_drift_is_found_with_its_slope() -> None:
    noise = np.random.default_rng(1).standard_normal(30)
    values = 100.0 + 0.5 * np.arange(30) + noise

    trend = run_trend(values)

    assert trend is not None
    assert trend.slope_per_run == pytest.approx(stats.theilslopes(values).slope)
    assert trend.lower < 0.5 < trend.upper
    assert trend.lower > 0.0
    assert trend.p_value < 0.01
    assert trend.runs == 30


def test_a_falling_figure_is_a_trend_as_well() -> None:
    trend = run_trend(-0.5 * np.arange(30) + np.random.default_rng(2).standard_normal(30))

    assert trend is not None
    assert trend.upper < 0.0


@pytest.mark.parametrize("values", [[], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [5.0] * 30, [1.0, 9.0] * 10])
def test_short_constant_or_alternating_histories_have_no_trend(values: list[float]) -> None:
    assert run_trend(values) is None


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_thirty_stable_runs_rarely_have_a_trend(phi: float) -> None:
    random = np.random.default_rng(3)
    assert sum(run_trend(ar1_noise(random, 30, phi)) is not None for _ in range(200)) <= 4


def test_a_drift_is_not_taken_for_levels_nor_a_level_for_a_drift() -> None:
    noise = np.random.default_rng(4).standard_normal(30)

    drift = run_course(0.5 * np.arange(30) + noise)
    step = run_course(np.where(np.arange(30) < 18, 0.0, 6.0) + noise)

    assert change_points(0.5 * np.arange(30) + noise)
    assert (drift.changes, drift.trend_since) == ((), 0)
    assert drift.trend is not None
    assert [change.index for change in step.changes] == [18]
    assert step.trend is None


def test_a_drift_since_a_change_is_told_from_both() -> None:
    values = np.concatenate((np.full(20, 50.0), 100.0 + 2.0 * np.arange(20)))
    course = run_course(values + 0.5 * np.random.default_rng(5).standard_normal(40), alpha=0.01)

    assert course.changes[0].index == 20
    assert course.trend is None or course.trend.slope_per_run == pytest.approx(2.0, abs=0.3)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        run_trend([float("nan")] * 10)
