"""The arithmetic of planning, held against counting by hand and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.analysis.decision import Side
from soak_pipeline.analysis.dependence import exceedance_design_effect
from soak_pipeline.analysis.percentiles import compare_to_limit, percentile, percentile_estimate
from soak_pipeline.analysis.power import (
    chance_design_effect,
    chance_of_at_least,
    fewest_trials,
    log_ratio_sd,
    recognised_share_of_limit,
)
from soak_pipeline.analysis.simulation import abba_pairs


def at_least(needed: int, trials: int, share: float) -> float:
    """The binomial tail, term by term."""
    return sum(
        math.comb(trials, hits) * share**hits * (1 - share) ** (trials - hits) for hits in range(needed, trials + 1)
    )


@pytest.mark.parametrize(("needed", "trials", "share"), [(1, 1, 0.6), (3, 5, 0.5), (72, 136, 0.6), (30, 60, 0.15)])
def test_the_chance_is_the_binomial_tail(needed: int, trials: int, share: float) -> None:
    assert chance_of_at_least(needed, trials, share) == pytest.approx(at_least(needed, trials, share), abs=1e-9)


def test_certain_and_impossible_counts() -> None:
    assert chance_of_at_least(0, 0, 0.5) == 1.0
    assert chance_of_at_least(100, 100, 1.0) == 1.0
    assert chance_of_at_least(101, 100, 1.0) == 0.0
    assert chance_of_at_least(1, 100, 0.0) == 0.0


@settings(deadline=None)
@given(needed=st.integers(1, 400), share=st.floats(0.02, 1.0), chance=st.floats(0.5, 0.999))
def test_fewest_trials_are_enough_and_one_less_is_not(needed: int, share: float, chance: float) -> None:
    trials = fewest_trials(needed, share, chance)
    assert trials is not None
    assert chance_of_at_least(needed, trials, share) >= chance
    assert trials == needed or chance_of_at_least(needed, trials - 1, share) < chance


def test_no_share_has_no_fewest_trials() -> None:
    assert fewest_trials(1, 0.0, 0.95) is None


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_certainty_is_no_chance(chance: float) -> None:
    with pytest.raises(ValueError, match="chance"):
        fewest_trials(1, 0.5, chance)


def test_a_short_window_has_no_design_effect() -> None:
    # 135 s are nine blocks of 15 s; ten are needed for an estimate.
    assert chance_design_effect(135.0, 1, chance=0.95) == 1.0
    # Ten blocks: chi-square with nine degrees of freedom is below 16.919 in 95 of 100 cases.
    assert chance_design_effect(136.0, 1, chance=0.95) == pytest.approx(16.919 / 9, abs=1e-3)


def test_more_windows_have_a_steadier_median() -> None:
    effects = [chance_design_effect(300.0, windows, chance=0.95) for windows in (1, 2, 12, 100)]
    assert effects == sorted(effects, reverse=True)
    assert effects[-1] > 1.0


@pytest.mark.parametrize("length_s", [150.0, 300.0, 440.0])
def test_independent_calls_rarely_seem_to_cluster_more_than_that(length_s: float) -> None:
    random = np.random.default_rng(5)
    allowed = chance_design_effect(length_s, 1, chance=0.95)
    effects = [
        exceedance_design_effect(random.uniform(0.0, length_s, 140), random.standard_normal(140), 0.95)
        for _ in range(600)
    ]
    assert np.mean(np.array(effects) <= allowed) >= 0.93


@pytest.mark.parametrize("samples", [300, 1_100])
def test_the_spread_of_a_pair_is_that_of_simulated_pairs(samples: int) -> None:
    pairs = abba_pairs(np.random.default_rng(3), 800, samples, ratio=1.0)
    logs = [math.log(percentile(after, 0.99) / percentile(before, 0.99)) for before, after in pairs]
    assert log_ratio_sd(samples, 0.99) == pytest.approx(float(np.std(logs)), rel=0.1)


@pytest.mark.parametrize(("samples", "windows"), [(135, 1), (450, 1), (900, 3)])
def test_what_is_recognised_nine_times_in_ten_is(samples: int, windows: int) -> None:
    """A percentile that lies so far under the limit keeps it in every window, in nine of ten simulated runs."""
    share = recognised_share_of_limit(samples, 0.95, windows=windows, chance=0.9)
    assert share is not None
    # A median whose p95 is `share` of a limit of 100.
    median = 100.0 * share * math.exp(-0.3 * 1.6448536269514722)
    random = np.random.default_rng(11)

    def keeps() -> bool:
        return all(
            compare_to_limit(percentile_estimate(median * np.exp(0.3 * random.standard_normal(samples)), 0.95), 100.0)
            is Side.BELOW
            for _ in range(windows)
        )

    assert np.mean([keeps() for _ in range(800)]) == pytest.approx(0.9, abs=0.035)


def test_too_few_samples_recognise_nothing() -> None:
    assert recognised_share_of_limit(71, 0.95) is None
    assert recognised_share_of_limit(72, 0.95) is not None
