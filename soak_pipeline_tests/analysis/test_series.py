from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.analysis.series import (
    Series,
    cleaned,
    coverage_share,
    longest_process_life,
    lower_envelope,
    resampled,
    resampling_step_s,
    sawtooth_drops,
)
from soak_pipeline.analysis.simulation import ar1_noise, regular_times_s, sawtooth

NAN = float("nan")


def test_missing_samples_are_left_out_and_times_sorted() -> None:
    series = cleaned([10.0, 0.0, 5.0, 15.0], [3.0, 1.0, NAN, 4.0])
    assert series.times_s.tolist() == [0.0, 10.0, 15.0]
    assert series.values.tolist() == [1.0, 3.0, 4.0]


def test_a_time_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite time"):
        cleaned([0.0, NAN], [1.0, 2.0])
    with pytest.raises(ValueError, match="equal vectors"):
        cleaned([0.0, 1.0], [1.0])


@pytest.mark.parametrize(
    ("duration_s", "sampling_s", "step_s"),
    [(450.0, 5.0, 15.0), (90.0, 1.0, 3.0), (90.0, 5.0, 5.0), (14_400.0, 5.0, 60.0), (1800.0, 30.0, 30.0)],
)
def test_resampling_step(duration_s: float, sampling_s: float, step_s: float) -> None:
    assert resampling_step_s(duration_s, sampling_s) == step_s


def test_resampling_takes_medians_and_keeps_gaps() -> None:
    times = np.array([0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 60.0, 65.0, 70.0, 450.0])
    values = np.array([1.0, 100.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 2.0])
    series = resampled(cleaned(times, values))
    assert series.step_s == 15.0
    assert series.times_s.tolist() == [5.0, 20.0, 65.0, 450.0]
    assert series.values.tolist() == [3.0, 5.0, 8.0, 2.0]
    assert series.adjacent.tolist() == [True, False, False]
    assert coverage_share(series) == pytest.approx(4 / 31)


def test_an_hour_of_five_second_samples_becomes_240_points() -> None:
    series = resampled(cleaned(regular_times_s(720, 5.0), np.arange(720.0)))
    assert series.times_s.size == 240
    assert coverage_share(series) == 1.0


def test_a_restart_cuts_the_series() -> None:
    times = np.arange(10.0)
    starts = np.array([100.0, 100.4, NAN, 99.8, 500.0, 500.0, 500.2, NAN, 500.0, 500.0])
    piece_times, piece_values, restarts = longest_process_life(times, times * 2, starts)
    assert restarts == 1
    assert piece_times.tolist() == [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert piece_values.tolist() == [8.0, 10.0, 12.0, 14.0, 16.0, 18.0]


def test_without_start_times_nothing_is_cut() -> None:
    times = np.arange(5.0)
    assert longest_process_life(times, times, None)[2] == 0
    assert longest_process_life(times, times, [NAN] * 5)[0].size == 5
    assert longest_process_life([], [], [])[0].size == 0
    with pytest.raises(ValueError, match="process_start_s"):
        longest_process_life(times, times, [1.0])


def test_a_sawtooth_is_recognised_and_its_troughs_followed() -> None:
    values = np.tile(np.arange(10.0), 6)
    series = cleaned(np.arange(60.0), values)
    drops = sawtooth_drops(series)
    assert drops.tolist() == [10, 20, 30, 40, 50]
    envelope = lower_envelope(series, drops)
    assert envelope.times_s.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert envelope.values.tolist() == [0.0] * 5


def test_noise_jumps_and_flicker_are_no_sawtooth() -> None:
    random = np.random.default_rng(1)
    for phi in (0.0, 0.8, 0.95):
        assert sawtooth_drops(cleaned(np.arange(500.0), ar1_noise(random, 500, phi))).size == 0
    flicker = np.where(random.random(500) < 0.1, 18.0, 17.0)
    assert sawtooth_drops(cleaned(np.arange(500.0), flicker)).size == 0
    assert sawtooth_drops(cleaned(np.arange(500.0), np.full(500, 17.0))).size == 0
    step_up = np.where(np.arange(500) > 250, 50.0, 0.0) + random.standard_normal(500)
    assert sawtooth_drops(cleaned(np.arange(500.0), step_up)).size == 0
    assert sawtooth_drops(Series(np.arange(3.0), np.arange(3.0), 1.0)).size == 0


def test_irregular_teeth_with_noise_are_counted() -> None:
    random = np.random.default_rng(2)
    times = regular_times_s(721, 5.0)
    values = 300.0 + sawtooth(random, times, 200.0, 60.0) + random.standard_normal(721)
    assert 15 <= sawtooth_drops(cleaned(times, values)).size <= 21


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(-50, 50)), min_size=2, max_size=60, unique_by=lambda point: point[0]
    )
)
def test_each_point_is_the_median_of_its_step(points: list[tuple[int, int]]) -> None:
    series = cleaned([float(time) for time, _ in points], [float(value) for _, value in points])
    coarse = resampled(series)
    steps = ((series.times_s - series.times_s[0]) / coarse.step_s + 1e-9).astype(int)
    expected = [np.median(series.values[steps == step]) for step in sorted(set(steps.tolist()))]
    assert coarse.values.tolist() == expected
