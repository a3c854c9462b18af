"""Samples every source at a steady pace in the background, and writes what it reads while the run goes.

Owns the threads and the pace. Each source has a thread of its own, so one that hangs delays no other. A source that
fails leaves NaN where its values were and goes on being tried: a gap, never a crash.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from soak_pipeline.evidence.telemetry_writer import TelemetryWriter
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.records import TelemetrySample
from soak_pipeline.model.series import READABLE_SERIES, Source
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.telemetry.clock import RunClock
from soak_pipeline.telemetry.host_source import HostSource, OwnCost
from soak_pipeline.telemetry.platform_source import PageSource
from soak_pipeline.telemetry.source import Reading, TelemetrySource
from soak_pipeline.telemetry.store_sources import store_sources

FLUSH_S = 5.0
STOP_TIMEOUT_S = 15.0
_MOST_WAITING = 1_000
_Batch = list[TelemetrySample]


def default_sources(resolved: ResolvedTarget, plan: Plan) -> list[TelemetrySource]:
    """Everything that the target gives access to, this machine, and the sampler's own process."""
    pages = [PageSource(resolved, plan, page) for page in resolved.metrics_pages]
    return [*pages, *store_sources(resolved), HostSource(), OwnCost()]


class Sampler:
    """A context manager: samples between `start` and `stop`.

    Args:
        resolved: the target.
        plan: gives the interval and the epoch.
        run_dir: the run folder; parts go to `telemetry/` in it.
        sources: instead of `default_sources`.
        name: of the parts; two samplers of one run that live at once need two names.
    """

    def __init__(
        self,
        resolved: ResolvedTarget,
        plan: Plan,
        run_dir: Path,
        sources: Sequence[TelemetrySource] | None = None,
        *,
        name: str = "platform",
    ) -> None:
        self._sources = default_sources(resolved, plan) if sources is None else list(sources)
        self._interval_s = plan.profile.telemetry_interval_s
        self._clock = RunClock(plan.epoch_unix_us)
        self._writer = TelemetryWriter(run_dir / "telemetry", name)
        self._batches: queue.Queue[_Batch] = queue.Queue(_MOST_WAITING)
        self._stopping = threading.Event()
        self._readers: list[threading.Thread] = []
        self._recorder: threading.Thread | None = None
        self.problem = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begins sampling; the first samples are taken at once."""
        self._readers = [
            threading.Thread(
                target=self._sample,
                args=[source, place / len(self._sources)],
                name=f"telemetry {source.name}",
                daemon=True,
            )
            for place, source in enumerate(self._sources)
        ]
        self._recorder = threading.Thread(target=self._record, name="telemetry writer", daemon=True)
        for thread in (*self._readers, self._recorder):
            thread.start()

    def stop(self) -> None:
        """Takes a last sample of every source that answers, writes the rest, and ends; a second call does nothing."""
        if self._recorder is None:
            return
        self._stopping.set()
        for thread in self._readers:
            thread.join(STOP_TIMEOUT_S)
        self._put([])
        self._recorder.join(STOP_TIMEOUT_S)
        self._recorder = None

    def _sample(self, source: TelemetrySource, place: float) -> None:
        """The life of one source's thread.

        Args:
            source: what to read.
            place: when within each interval (0..1). All sources at once would be a burst of work on both sides, and the
                requests that meet it would be late.
        """
        known: dict[tuple[Source, str, str], None] = {}
        due_us = _first_due_us(self._clock.now_us(), self._interval_s, place)
        while True:
            is_last = self._stopping.is_set()
            self._put(self._read(source, known))
            if is_last:
                break
            due_us = _next_due_us(due_us, self._clock.now_us(), self._interval_s)
            self._stopping.wait((due_us - self._clock.now_us()) / 1e6)
        _quietly(source.close)

    def _read(self, source: TelemetrySource, known: dict[tuple[Source, str, str], None]) -> _Batch:
        began_us = self._clock.now_us()
        try:
            readings = source.read()
        except Exception:  # Whatever a source meets, it is a gap in the telemetry and not the end of it.
            readings = [Reading(*key, math.nan) for key in known]
            is_readable = 0.0
        else:
            known.update(dict.fromkeys((reading.source, reading.owner, reading.series) for reading in readings))
            is_readable = 1.0
        ended_us = self._clock.now_us()
        time_us = (began_us + ended_us) // 2
        return [
            *(TelemetrySample(time_us, *reading) for reading in readings),
            TelemetrySample(time_us, Source.HOST, source.name, READABLE_SERIES, is_readable),
            TelemetrySample(time_us, Source.HOST, source.name, "source_read_s", (ended_us - began_us) / 1e6),
        ]

    def _put(self, batch: _Batch) -> None:
        """Hands a batch over; when the disk has been stuck for long, the batch is lost and memory stays bounded."""
        try:
            self._batches.put_nowait(batch)
        except queue.Full:
            self.problem = "telemetry is lost: its writer does not keep up"

    def _record(self) -> None:
        """The life of the writing thread; an empty batch ends it."""
        flush_due_us = self._clock.now_us()
        while True:
            batch = self._next_batch()
            if batch is not None:
                self._tolerating(lambda rows=batch: self._writer.append(rows))  # type: ignore[misc]
            if self._clock.now_us() >= flush_due_us:
                self._tolerating(self._writer.flush)
                flush_due_us = self._clock.now_us() + int(FLUSH_S * 1e6)
            if batch == []:
                break
        self._tolerating(self._writer.close)

    def _next_batch(self) -> _Batch | None:
        try:
            return self._batches.get(timeout=1.0)
        except queue.Empty:
            return None

    def _tolerating(self, write: Callable[[], None]) -> None:
        """A full disk leaves a gap; the next flush tries again."""
        try:
            write()
        except OSError as error:
            self.problem = f"telemetry could not be written: {error.strerror or type(error).__name__}"


def _first_due_us(now_us: int, interval_s: float, place: float) -> int:
    """From where a source counts its intervals, so that it is due at its place in each (0..1)."""
    return now_us - int((1.0 - place) * interval_s * 1e6)


def _next_due_us(due_us: int, now_us: int, interval_s: float) -> int:
    """The next time of a steady pace; what was missed is skipped, not made up for."""
    interval_us = max(1, int(interval_s * 1e6))
    return due_us + interval_us * max(1, -(-(now_us - due_us) // interval_us))


def _quietly(close: Callable[[], None]) -> None:
    try:
        close()
    except Exception:  # The source is done with; there is nothing to save.
        return
