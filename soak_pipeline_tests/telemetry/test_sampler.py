from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soak_pipeline.evidence.telemetry import SeriesKey, Telemetry, read_telemetry
from soak_pipeline.evidence.telemetry_writer import TelemetryWriter
from soak_pipeline.model.series import Source
from soak_pipeline.telemetry import sampler as sampler_module
from soak_pipeline.telemetry.sampler import Sampler, _first_due_us, _next_due_us
from soak_pipeline.telemetry.source import Reading
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

PLAN = examples.plan(telemetry_interval_s=0.02)


class Scripted:
    """A source that does what a test says at each read."""

    def __init__(self, script: Callable[[int], float], name: str = "scripted") -> None:
        self.name = name
        self.reads = 0
        self.closed = False
        self._script = script

    def read(self) -> list[Reading]:
        self.reads += 1
        return [Reading(Source.PLATFORM, self.name, "rss_bytes", self._script(self.reads))]

    def close(self) -> None:
        self.closed = True


def _sampled(run: Path, *sources: Scripted, reads: int = 5) -> Telemetry:
    with Sampler(examples.resolved(), PLAN, run, sources):
        wait_for(lambda: all(source.reads >= reads for source in sources), "the sampler has done that", every_s=0.005)
    return read_telemetry(run)


def test_samples_are_written_in_order_and_sources_closed(tmp_path: Path) -> None:
    source = Scripted(float)
    series = _sampled(tmp_path, source)[SeriesKey("platform", "scripted", "rss_bytes")]
    assert series.values.tolist() == [float(n) for n in range(1, source.reads + 1)]
    assert np.all(np.diff(series.times_s) > 0)
    assert source.closed


def test_times_count_from_the_plans_epoch(tmp_path: Path) -> None:
    before = time.time() - PLAN.epoch_unix_us / 1e6
    series = _sampled(tmp_path, Scripted(float))[SeriesKey("platform", "scripted", "rss_bytes")]
    after = time.time() - PLAN.epoch_unix_us / 1e6
    assert before - 0.1 <= series.times_s[0] <= series.times_s[-1] <= after + 0.1


def test_a_source_that_fails_leaves_a_gap_and_comes_back(tmp_path: Path) -> None:
    def falter(read: int) -> float:
        if read in (2, 3):
            raise RuntimeError("gone")
        return float(read)

    telemetry = _sampled(tmp_path, Scripted(falter))
    values = telemetry[SeriesKey("platform", "scripted", "rss_bytes")].values[:5]
    assert np.array_equal(values, [1.0, np.nan, np.nan, 4.0, 5.0], equal_nan=True)
    assert telemetry[SeriesKey("host", "scripted", "source_readable")].values[:5].tolist() == [1, 0, 0, 1, 1]


def test_a_source_that_hangs_delays_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "STOP_TIMEOUT_S", 0.2)
    released = threading.Event()
    hanging = Scripted(lambda read: float(released.wait(PATIENCE_S)), "hanging")
    steady = Scripted(float, "steady")
    with Sampler(examples.resolved(), PLAN, tmp_path, [hanging, steady]):
        wait_for(lambda: steady.reads >= 5, "the sampler has done that", every_s=0.005)
    assert hanging.reads == 1
    released.set()
    assert len(read_telemetry(tmp_path)[SeriesKey("platform", "steady", "rss_bytes")].values) >= 5


def test_rows_are_on_disk_while_sampling_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "FLUSH_S", 0.01)
    with Sampler(examples.resolved(), PLAN, tmp_path, [Scripted(float)]):
        wait_for(lambda: bool(read_telemetry(tmp_path)), "the sampler has done that", every_s=0.005)


def test_a_full_disk_is_a_problem_and_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "FLUSH_S", 0.01)
    failures = iter([OSError(errno.ENOSPC, "No space left on device")] * 3)
    flush = TelemetryWriter.flush

    def flaky(writer: TelemetryWriter) -> None:
        for failure in failures:
            raise failure
        flush(writer)

    monkeypatch.setattr(TelemetryWriter, "flush", flaky)
    source = Scripted(float)
    with Sampler(examples.resolved(), PLAN, tmp_path, [source]) as sampler:
        wait_for(lambda: bool(sampler.problem), "the sampler has done that", every_s=0.005)
        wait_for(lambda: bool(read_telemetry(tmp_path)), "the sampler has done that", every_s=0.005)
    assert sampler.problem == "telemetry could not be written: No space left on device"
    series = read_telemetry(tmp_path)[SeriesKey("platform", "scripted", "rss_bytes")]
    assert series.values.tolist() == [float(n) for n in range(1, source.reads + 1)]


def test_stopping_twice_and_before_starting_is_fine(tmp_path: Path) -> None:
    sampler = Sampler(examples.resolved(), PLAN, tmp_path, [Scripted(float)])
    sampler.stop()
    sampler.start()
    sampler.stop()
    sampler.stop()


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    _sampled(tmp_path, Scripted(float), Scripted(float, "second"))
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("due_us", "now_us", "next_us"),
    [(0, 0, 5_000_000), (0, 1, 5_000_000), (0, 4_999_999, 5_000_000), (0, 5_000_000, 5_000_000),
     (0, 5_000_001, 10_000_000), (5_000_000, 23_000_000, 25_000_000)],
)  # fmt: skip
def test_the_pace_is_kept_and_what_was_missed_is_skipped(due_us: int, now_us: int, next_us: int) -> None:
    assert _next_due_us(due_us, now_us, 5.0) == next_us


@pytest.mark.parametrize(("place", "second_us"), [(0.0, 1_000_000), (0.25, 2_000_000), (0.75, 4_000_000)])
def test_sources_have_places_of_their_own_in_the_interval(place: float, second_us: int) -> None:
    """Each is read at once, at 1 s and not late, and then at its own part of the interval of 4 s."""
    first_us = _first_due_us(1_000_000, 4.0, place)
    # The one in front has had its turn with the first read, so its next is a whole interval later.
    second_us += 4_000_000 if place == 0.0 else 0
    assert _next_due_us(first_us, 1_000_100, 4.0) == second_us
