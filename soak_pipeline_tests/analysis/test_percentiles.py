from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.analysis.decision import Side
from soak_pipeline.analysis.percentiles import (
    PercentileEstimate,
    compare_to_limit,
    lower_bound_rank,
    minimum_samples,
    order_statistic_rank,
    percentile,
    percentile_estimate,
    percentile_estimates,
    upper_bound_rank,
    window_edges,
    windowed_percentiles,
)


@pytest.mark.parametrize(
    ("share", "samples", "rank"),
    [(0.95, 100, 95), (0.95, 101, 96), (0.99, 100, 99), (0.99, 200, 198), (0.5, 1, 1), (0.5, 4, 2), (0.999, 10, 10)],
)
def test_rank_is_the_smallest_that_covers_the_share(share: float, samples: int, rank: int) -> None:
    assert order_statistic_rank(share, samples) == rank


@pytest.mark.parametrize(("share", "samples"), [(0.95, 72), (0.99, 368), (0.999, 3688)])
def test_fewest_samples_for_an_upper_bound_at_97_5_per_cent(share: float, samples: int) -> None:
    assert minimum_samples(share, 0.975) == samples
    assert 1 - share**samples >= 0.975 > 1 - share ** (samples - 1)
    assert upper_bound_rank(share, samples, 0.975) == samples
    assert upper_bound_rank(share, samples - 1, 0.975) is None


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=200),
    st.floats(0.01, 0.99),
)
def test_percentile_is_a_measured_value_as_numpy_defines_the_inverse_distribution(
    values: list[int], share: float
) -> None:
    result = percentile(values, share)
    assert result in values
    assert result == np.quantile(values, share, method="inverted_cdf") or math.isclose(
        share * len(values), round(share * len(values)), abs_tol=1e-8
    )
    assert sum(value <= result for value in values) >= share * len(values) - 1e-6


def _exact_below(count: int, samples: int, share: float) -> float:
    return sum(math.comb(samples, k) * share**k * (1 - share) ** (samples - k) for k in range(count + 1))


@pytest.mark.parametrize(("share", "samples"), [(0.5, 20), (0.95, 100), (0.95, 300), (0.99, 400)])
def test_bounds_are_the_tightest_ranks_of_the_binomial(share: float, samples: int) -> None:
    upper = upper_bound_rank(share, samples, 0.975)
    lower = lower_bound_rank(share, samples, 0.975)
    assert upper is not None
    assert lower is not None
    assert _exact_below(upper - 1, samples, share) >= 0.975 > _exact_below(upper - 2, samples, share)
    assert 1 - _exact_below(lower - 1, samples, share) >= 0.975 > 1 - _exact_below(lower, samples, share)


def test_median_of_twenty_has_the_textbook_interval() -> None:
    # Ranks 6 and 15 enclose the median of 20 values with 95.86 % (Conover, Practical Nonparametric Statistics).
    estimate = percentile_estimate(range(1, 21), 0.5)
    assert (estimate.lower, estimate.value, estimate.upper) == (6.0, 10.0, 15.0)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(11)
    truth = math.exp(1.6448536269514722)
    covered = above = 0
    for _ in range(2000):
        estimate = percentile_estimate(np.exp(random.standard_normal(200)), 0.95)
        assert estimate.lower is not None
        assert estimate.upper is not None
        covered += estimate.lower <= truth <= estimate.upper
        above += estimate.lower > truth
    assert covered / 2000 >= 0.94
    assert above / 2000 <= 0.035


def test_order_does_not_matter_and_several_shares_agree_with_single_ones() -> None:
    random = np.random.default_rng(3)
    values = random.integers(1, 1000, 500)
    together = percentile_estimates(values, (0.5, 0.95, 0.99))
    assert together == tuple(percentile_estimate(np.sort(values), share) for share in (0.5, 0.95, 0.99))


def test_an_empty_sample_has_no_value_and_no_bounds() -> None:
    estimate = percentile_estimate([], 0.95)
    assert (estimate.samples, estimate.value, estimate.lower, estimate.upper) == (0, None, None, None)
    assert compare_to_limit(estimate, 250.0) is Side.OPEN


def test_a_small_sample_has_a_lower_bound_only() -> None:
    estimate = percentile_estimate(np.arange(1, 72), 0.95)
    assert estimate.upper is None
    assert estimate.lower is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        percentile_estimate([1.0, bad], 0.5)


def test_clustered_values_count_for_less() -> None:
    values = np.arange(1.0, 2001.0)
    alone = percentile_estimate(values, 0.95)
    clustered = percentile_estimate(values, 0.95, design_effect=4.0)
    assert clustered.effective_samples == 500
    assert clustered.value == alone.value
    assert clustered.lower is not None
    assert alone.lower is not None
    assert clustered.upper is not None
    assert alone.upper is not None
    # A quarter of the information doubles the width.
    assert (clustered.upper - clustered.lower) / (alone.upper - alone.lower) == pytest.approx(2.0, rel=0.05)
    with pytest.raises(ValueError, match="at least 1"):
        percentile_estimate(values, 0.95, design_effect=0.5)


@pytest.mark.parametrize(
    ("lower", "upper", "side"),
    [
        (100.0, 250.0, Side.BELOW),
        (250.0, 250.0, Side.BELOW),
        (250.0, 251.0, Side.OPEN),
        (250.1, 260.0, Side.ABOVE),
        (None, 200.0, Side.BELOW),
        (260.0, None, Side.ABOVE),
        (200.0, None, Side.OPEN),
        (None, None, Side.OPEN),
    ],
)
def test_exactly_at_the_limit_keeps_the_budget(lower: float | None, upper: float | None, side: Side) -> None:
    assert compare_to_limit(PercentileEstimate(0.95, 100, 100, 230.0, lower, upper, 0.95), 250.0) is side


@pytest.mark.parametrize(
    ("end_s", "edges"),
    [(900.0, [0, 300, 600, 900]), (1000.0, [0, 300, 600, 1000]), (1100.0, [0, 300, 600, 900, 1100]), (20.0, [0, 20])],
)
def test_a_short_remainder_joins_the_window_before_it(end_s: float, edges: list[float]) -> None:
    assert window_edges(0.0, end_s, 300.0).tolist() == edges


def _phase(random: np.random.Generator, slow_window: int | None) -> tuple[np.ndarray, np.ndarray]:
    times = random.uniform(1000.0, 2200.0, 8000)
    values = 100.0 * np.exp(0.3 * random.standard_normal(8000))
    if slow_window is not None:
        values[(times >= 1000 + 300 * slow_window) & (times < 1300 + 300 * slow_window)] *= 2.0
    return times, values


def test_the_worst_window_is_named() -> None:
    times, values = _phase(np.random.default_rng(5), slow_window=2)
    result = windowed_percentiles(times, values, 0.95, limit=250.0, start_s=1000.0, end_s=2200.0)
    assert result.side is Side.ABOVE
    assert result.worst is not None
    assert (result.worst.start_s, result.worst.end_s) == (1600.0, 1900.0)
    assert sum(window.estimate.samples for window in result.windows) == 8000
    mask = (times >= 1600) & (times < 1900)
    assert result.worst.estimate.value == percentile(values[mask], 0.95)


def test_every_window_below_is_below() -> None:
    times, values = _phase(np.random.default_rng(6), slow_window=None)
    assert windowed_percentiles(times, values, 0.95, limit=250.0, start_s=1000.0, end_s=2200.0).side is Side.BELOW


def test_a_window_without_samples_leaves_the_answer_open() -> None:
    times, values = _phase(np.random.default_rng(7), slow_window=None)
    kept = (times < 1300) | (times >= 1600)
    result = windowed_percentiles(times[kept], values[kept], 0.95, limit=250.0, start_s=1000.0, end_s=2200.0)
    assert result.windows[1].estimate.samples == 0
    assert result.side is Side.OPEN


def test_a_stall_in_one_window_takes_nothing_from_what_is_known_of_the_others() -> None:
    times, values = _phase(np.random.default_rng(9), slow_window=None)
    values[(times >= 1600) & (times < 1640)] = 3000.0
    stalled = windowed_percentiles(times, values, 0.95, limit=250.0, start_s=1000.0, end_s=2200.0)
    *others, _ = (window for window in stalled.windows if window.start_s != 1600.0)
    assert all(window.estimate.upper is not None and window.estimate.upper < 250.0 for window in others)
    slow = next(window.estimate for window in stalled.windows if window.start_s == 1600.0)
    assert slow.value == 3000.0
    # All the slow calls of that window are one event of forty seconds, so its samples count as few.
    assert slow.effective_samples < slow.samples / 20


def test_values_outside_the_phase_are_not_judged_and_the_last_instant_is() -> None:
    result = windowed_percentiles(
        [0.0, 9.9, 10.0, 20.0, 20.1], [1, 2, 3, 4, 5], 0.5, limit=9.0, start_s=0.0, end_s=20.0, window_s=10.0
    )
    assert [window.estimate.samples for window in result.windows] == [2, 2]


def test_many_windows_do_not_cry_wolf() -> None:
    random = np.random.default_rng(8)
    limit = 100.0 * math.exp(0.3 * 1.6448536269514722)
    false_alarms = 0
    for _ in range(150):
        times = random.uniform(0.0, 14_400.0, 14_400)
        values = 100.0 * np.exp(0.3 * random.standard_normal(14_400))
        result = windowed_percentiles(times, values, 0.95, limit=limit, start_s=0.0, end_s=14_400.0)
        assert len(result.windows) == 48
        false_alarms += result.side is Side.ABOVE
    assert false_alarms <= 9
