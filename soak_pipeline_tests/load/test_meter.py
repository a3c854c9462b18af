"""How a load process measures itself."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.load.meter import LagHistogram, Meter, rss_bytes


def test_no_sample_no_percentile() -> None:
    assert LagHistogram().p99_ms() is None


def test_one_late_loop_in_a_hundred_is_not_yet_the_p99() -> None:
    histogram = LagHistogram()
    for _ in range(99):
        histogram.add(1.0)
    histogram.add(500.0)
    assert histogram.p99_ms() == pytest.approx(1.1)
    histogram.add(500.0)
    assert histogram.p99_ms() == pytest.approx(500.1)


def test_what_is_longer_than_the_histogram_counts_as_its_end() -> None:
    histogram = LagHistogram()
    histogram.add(60_000.0)
    histogram.add(-1.0)
    assert histogram.p99_ms() == pytest.approx(10_000.0)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1_000.0), min_size=1, max_size=300))
def test_the_percentile_is_that_of_the_samples_rounded_up(lags_ms: list[float]) -> None:
    histogram = LagHistogram()
    for lag_ms in lags_ms:
        histogram.add(lag_ms)
    exact = sorted(lags_ms)[-(-len(lags_ms) * 99 // 100) - 1]
    found = histogram.p99_ms()
    assert found is not None
    assert exact - 1e-6 <= found <= exact + 0.2


def test_an_interval_has_memory_cpu_and_lag() -> None:
    meter = Meter()
    assert meter.read().loop_lag_ms_p99 is None
    for _ in range(10):
        meter.probed(0.002)
    meter.probed(0.05)
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    reading = meter.read()
    assert reading.loop_lag_ms_p99 == pytest.approx(50.0)
    assert reading.cpu_share > 0.0
    assert meter.cpu_share_max >= reading.cpu_share
    assert reading.rss_bytes > 1_000_000


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert rss_bytes(os.getpid()) > 0
    assert rss_bytes(2**22 + 1) == 0
