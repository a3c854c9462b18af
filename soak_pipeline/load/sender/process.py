"""The housekeeping of a process that sends load: lease, records, telemetry, and an end in every case.

Owns when a load process stops and what it leaves behind. Never sends a request of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

import gevent
import msgspec

from soak_pipeline.load.control import LoadSpec, TelemetryLine, WorkerState, append_line, replace_file
from soak_pipeline.load.lease import EXIT_LEASE_LOST
from soak_pipeline.load.meter import PROBE_EVERY_S, Meter, rss_bytes
from soak_pipeline.load.sender.runtime import LoadRuntime
from soak_pipeline.model.stage_outputs import WorkerReport

FLUSH_EVERY_S = 1.0

LOAD_NICE = -5
"""Nice level of a process that sends load, where it may have one below 0, which is root's right. It needs little, but
at once: one that waits for the CPU is late by itself, and counts that as the platform's latency."""

EXIT_FINISHED = 0
EXIT_FAILED = 1
EXIT_TERMINATED = 143

logger = logging.getLogger(__name__)


class LoadProcess:
    """One load process.

    Args:
        spec: the session.
        index: of this worker.
        due_unsent: how many requests are due and not yet begun, by tenant; asked every few seconds.
        begun: how many requests of the schedule were begun, by tenant.

    Attributes:
        runtime: for the virtual users.
        failure: why it gave up; empty while it has not.
    """

    def __init__(
        self,
        spec: LoadSpec,
        index: int,
        *,
        due_unsent: Callable[[], dict[str, int]],
        begun: Callable[[], dict[str, int]],
    ) -> None:
        self._spec = spec
        self._index = index
        self._due_unsent = due_unsent
        self._begun = begun
        self._meter = Meter()
        self._parent_pid = os.getppid()
        self._over = False
        self.failure = ""
        self.runtime = LoadRuntime(spec, index, spec.plan.requests_per_second_max / spec.workers)

    def start(self) -> None:
        """Starts the housekeeping; from here on the process ends when its lease does.

        Exits the process at once when there is no lease.
        """
        if not self.runtime.check_lease():
            self.end(EXIT_LEASE_LOST)
        go_first()
        gevent.signal_handler(signal.SIGTERM, self.end, EXIT_TERMINATED)
        gevent.signal_handler(signal.SIGINT, lambda: None)
        for task in (self.runtime.reaper.run, self._keep_lease, self._keep_records, self._keep_telemetry, self._probe):
            gevent.spawn(self._guarded, task)

    def fail(self, reason: str) -> None:
        """Notes why the session cannot go on; the first reason counts."""
        if not self.failure:
            self.failure = reason
            logger.error("load worker %d: %s", self._index, reason)

    def finish(self) -> None:
        """Closes the records and says that the session ended as planned; unless it failed before."""
        self._close(planned=True)

    def end(self, code: int) -> NoReturn:
        """Keeps what there is and ends the process at once, without unwinding anything."""
        self._close(planned=False)
        logging.shutdown()
        os._exit(code)

    def _close(self, *, planned: bool) -> None:
        if self._over:
            return
        self._over = True
        try:
            self.runtime.spool.close()
        except OSError as error:
            self.fail(f"request records cannot be written: {error.strerror}")
        try:
            self._write_telemetry()
            self._write_state(lost=not planned or bool(self.failure))
        except OSError as error:
            logger.error("load worker %d: its last state cannot be written: %s", self._index, error.strerror)

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            logger.exception("load worker %d: housekeeping failed", self._index)
            what = error.strerror if isinstance(error, OSError) else type(error).__name__
            self.fail(f"the load worker cannot keep its files: {what}")
            self.end(EXIT_FAILED)

    def _keep_lease(self) -> None:
        self.runtime.watch_lease(lambda: os.getppid() == self._parent_pid)
        self.fail("the lease has expired")
        self.end(EXIT_LEASE_LOST)

    def _keep_records(self) -> None:
        while True:
            gevent.sleep(FLUSH_EVERY_S)
            if self._over:
                return
            try:
                self.runtime.spool.flush()
            except OSError as error:
                self.fail(f"request records cannot be written: {error.strerror}")
                self.end(EXIT_FAILED)

    def _keep_telemetry(self) -> None:
        interval_s = self._spec.plan.profile.telemetry_interval_s
        while not self._over:
            self._write_state(lost=True)
            gevent.sleep(interval_s)
            if not self._over:
                self._write_telemetry()

    def _probe(self) -> None:
        probed = self._meter.probed
        while True:
            wanted_s = time.monotonic() + PROBE_EVERY_S
            gevent.sleep(PROBE_EVERY_S)
            probed(time.monotonic() - wanted_s)

    def _write_telemetry(self) -> None:
        reading = self._meter.read()
        figures = {
            "rss_bytes": float(reading.rss_bytes),
            "cpu_share": reading.cpu_share,
            "due_unsent": float(sum(self._due_unsent().values())),
            "sent": float(sum(self.runtime.sent.values())),
        }
        if reading.loop_lag_ms_p99 is not None:
            figures["loop_lag_ms_p99"] = reading.loop_lag_ms_p99
        line = TelemetryLine(
            time_us=self.runtime.clock.to_us(time.monotonic()), owner=f"load-{self._index}", figures=figures
        )
        control = self._spec.control
        append_line(control.telemetry(self._index), line)
        replace_file(control.samples(self._index), self.runtime.samples.encoded())

    def _write_state(self, *, lost: bool) -> None:
        begun, unsent = self._begun(), self._due_unsent()
        state = WorkerState(
            report=WorkerReport(
                worker=self._index,
                sent=dict(self.runtime.sent),
                due={tenant: count + unsent.get(tenant, 0) for tenant, count in begun.items()},
                loop_lag_ms_p99=self._meter.whole.p99_ms(),
                cpu_share_max=self._meter.cpu_share_max,
                rss_bytes_start=self._meter.rss_bytes_start,
                rss_bytes_end=rss_bytes(),
                lost=lost,
            ),
            zero_us=None if self.runtime.zero_s is None else self.runtime.clock.to_us(self.runtime.zero_s),
            last_end_us=self.runtime.last_end_us,
            failure=self.failure,
            pid=os.getpid(),
        )
        replace_file(self._spec.control.worker(self._index), msgspec.json.encode(state))


def go_first() -> None:
    """Gives this process `LOAD_NICE`, unless it has a lower level already or may not have it."""
    if os.getpriority(os.PRIO_PROCESS, 0) > LOAD_NICE:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, LOAD_NICE)
