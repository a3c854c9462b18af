from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from soak_pipeline.analysis.comparison import Change, compare_runs

CALM = 100.0 * np.exp(0.01 * np.random.default_rng(1).standard_normal(12))


@pytest.mark.parametrize(
    ("ratio", "larger_is_worse", "change"),
    [
        (1.3, True, Change.WORSE),
        (0.7, True, Change.BETTER),
        (1.3, False, Change.BETTER),
        (0.7, False, Change.WORSE),
        (1.0, True, Change.SAME),
    ],
)
def test_the_four_answers(ratio: float, larger_is_worse: bool, change: Change) -> None:
    result = compare_runs(CALM, CALM * ratio, larger_is_worse=larger_is_worse)
    assert result.change is change
    assert result.ratio == pytest.approx(ratio)


def test_near_the_margin_is_unknown() -> None:
    assert compare_runs(CALM, CALM * 1.05).change is Change.UNKNOWN


def test_exactly_the_margin_without_noise_is_the_same() -> None:
    assert compare_runs([100.0] * 6, [104.9] * 6).change is Change.SAME
    assert compare_runs([100.0] * 6, [105.1] * 6).change is Change.WORSE


def test_few_windows_are_unknown() -> None:
    result = compare_runs([100.0] * 3, [200.0] * 12)
    assert (result.change, result.ratio) == (Change.UNKNOWN, None)


def test_noise_between_runs_widens_the_interval() -> None:
    alone = compare_runs(CALM, CALM * 1.2)
    widened = compare_runs(CALM, CALM * 1.2, between_runs_log_sd=0.2)
    assert alone.change is Change.WORSE
    assert widened.change is Change.UNKNOWN


def test_interval_by_hand_for_independent_windows() -> None:
    # Alternating logs have negative autocorrelation, which is held at the bias correction of zero: phi stays 0.
    logs = [0.02, -0.02] * 5
    result = compare_runs([math.exp(x) for x in logs], [1.1 * math.exp(x) for x in logs])
    error = math.sqrt(2 * statistics.variance(logs) / 10)
    # Welch with equal variances and 9 degrees each: 18 degrees; t at 97.5 % is 2.100922.
    assert result.upper == pytest.approx(1.1 * math.exp(2.100922 * error), rel=1e-6)


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        compare_runs(CALM, CALM, margin=0.0)
    with pytest.raises(ValueError, match="must be above 0"):
        compare_runs([0.0] * 5, CALM)
