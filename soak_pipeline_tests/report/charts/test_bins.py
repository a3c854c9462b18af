from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.report.charts.bins import (
    MAX_BINS,
    bins_for,
    counts_by_bin,
    exact_percentiles,
    percentiles_by_bin,
)

moments = st.floats(min_value=0.0, max_value=1_000.0, allow_nan=False)


def test_percentiles_are_order_statistics_of_each_bin() -> None:
    # Two bins of 10 s; the first holds 1..100, the second one value.
    bins = bins_for(0.0, 20.0, max_bins=2)
    times = np.concatenate([np.linspace(0, 9.99, 100), [15.0]])
    values = np.concatenate([np.arange(1.0, 101.0), [7.0]])
    assert bins.edges_s.tolist() == [0.0, 10.0, 20.0]
    assert percentiles_by_bin(bins, times, values, (0.5, 0.95, 0.99)).tolist() == [[50, 95, 99], [7, 7, 7]]


def test_a_bin_without_a_value_is_a_gap_and_not_a_zero() -> None:
    bins = bins_for(0.0, 20.0, max_bins=2)
    result = percentiles_by_bin(bins, np.array([1.0]), np.array([5.0]), (0.5,))
    assert result[0, 0] == 5.0
    assert math.isnan(result[1, 0])


@given(start=moments, length=st.floats(min_value=0.0, max_value=100_000.0), samples=st.integers(0, 10_000_000))
def test_bins_cover_the_stretch_without_gap(start: float, length: float, samples: int) -> None:
    bins = bins_for(start, start + length, samples=samples)
    assert bins.edges_s[0] == start
    assert bins.edges_s[-1] == pytest.approx(max(start + length, start + 1.0))
    assert np.all(np.diff(bins.edges_s) > 0)
    assert 1 <= bins.count <= MAX_BINS


@given(times=st.lists(moments, min_size=1, max_size=200), end=st.floats(min_value=1_000.0, max_value=2_000.0))
def test_every_time_is_counted_once(times: list[float], end: float) -> None:
    bins = bins_for(0.0, end)
    assert counts_by_bin(bins, np.array(times)).sum() == len(times)


def test_times_outside_are_not_counted() -> None:
    assert counts_by_bin(bins_for(10.0, 20.0), np.array([9.9, 10.0, 20.0, 20.1])).sum() == 2


@pytest.mark.parametrize(("samples", "bins"), [(10, 1), (40, 2), (500, 6), (600, 6), (100_000, 60)])
def test_few_samples_make_few_bins(samples: int, bins: int) -> None:
    assert bins_for(0.0, 3_600.0, samples=samples).count == bins


@given(values=st.lists(moments, min_size=1, max_size=300), share=st.floats(min_value=0.01, max_value=0.999))
def test_exact_percentile_is_the_smallest_value_that_a_share_does_not_exceed(values: list[float], share: float) -> None:
    result = float(exact_percentiles(np.array(values), (share,))[0])
    at_most = sum(value <= result for value in values)
    below = sum(value < result for value in values)
    assert at_most >= share * len(values) - 1e-6
    assert below < share * len(values) + 1e-6
