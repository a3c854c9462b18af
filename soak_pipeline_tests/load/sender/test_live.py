"""Live figures: exact percentiles over the last seconds, rates, the place in the session."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.load.sender.live import LATENCY_WINDOW_S, LiveFigures, percentile
from soak_pipeline_tests.load.example_run import example_session


def packed(*values_us: int) -> bytes:
    return array("Q", values_us).tobytes()


def test_before_time_zero_it_is_starting() -> None:
    live = LiveFigures(example_session(warmup_s=1.0, soak_s=4.0))
    live.take(10.0, 0, 4, {"ok": 4}, {})
    progress = live.progress(10.0, None)
    assert (progress.phase, progress.users, progress.outcomes, progress.seconds_left) == ("starting", 4, {"ok": 4}, 5.0)


@pytest.mark.parametrize(
    ("offset_s", "phase", "window", "left_s"),
    [(0.0, "warmup", 0, 5.0), (1.0, "soak", 1, 4.0), (4.9, "soak", 1, 0.1), (5.0, "ended", 1, 0.0)],
)
def test_the_place_in_the_session(offset_s: float, phase: str, window: int, left_s: float) -> None:
    progress = LiveFigures(example_session(warmup_s=1.0, soak_s=4.0)).progress(0.0, offset_s)
    assert (progress.phase, progress.window) == (phase, window)
    assert progress.seconds_left == pytest.approx(left_s)


def test_workers_add_up() -> None:
    live = LiveFigures(example_session())
    live.take(0.0, 0, 3, {"ok": 10, "timeout": 1}, {"A": packed(1_000, 2_000)})
    live.take(0.0, 1, 2, {"ok": 5}, {"A": packed(3_000), "B": packed(7_000)})
    progress = live.progress(0.0, 0.0)
    assert progress.users == 5
    assert progress.outcomes == {"ok": 15, "timeout": 1}
    assert progress.latency_ms_p95 == {"A": 3.0, "B": 7.0}


def test_rates_and_latencies_are_of_the_last_seconds() -> None:
    live = LiveFigures(example_session())
    live.take(0.0, 0, 1, {"ok": 0}, {"A": packed(900_000)})
    live.progress(0.0, 0.0)
    for second in range(1, 21):
        live.take(float(second), 0, 1, {"ok": 100 * second}, {"A": packed(5_000)})
        progress = live.progress(float(second), float(second))
        assert progress.requests_per_second == pytest.approx(100.0)
    assert LATENCY_WINDOW_S < 20.0
    assert progress.latency_ms_p95 == {"A": 5.0}
    assert len(live._latencies) <= LATENCY_WINDOW_S + 1
    assert len(live._totals) <= 8


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), st.sampled_from([50, 95, 99]))
def test_the_percentile_is_the_smallest_value_that_covers_enough(values: list[int], percent: int) -> None:
    found = percentile(array("Q", values), percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)
