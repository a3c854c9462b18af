"""`python -m soak_pipeline.load.supervision SPEC`: starts the processes of one load session and answers for their end.

Owns the life of Locust's master and workers, or of the fan-out process; turns full spools into Parquet meanwhile,
gathers the processes' telemetry, and writes the session's report whatever happened. Imports neither Locust nor gevent.
Every process checks the lease by itself too, so the load ends even when this one is killed.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from soak_pipeline.evidence.request_writer import compact_closed
from soak_pipeline.evidence.telemetry_writer import TelemetryWriter
from soak_pipeline.load.clock import RunClock
from soak_pipeline.load.control import END_SLACK_S, LoadSpec, TelemetryLine, read_lines, read_spec, start_limit_s
from soak_pipeline.load.events import Failed, Finished, Listening, MasterEvent, Zeroed, decode_event
from soak_pipeline.load.exporter import SessionCollector, serve_metrics
from soak_pipeline.load.lease import EXIT_LEASE_LOST, LeaseFile
from soak_pipeline.load.meter import rss_bytes
from soak_pipeline.load.session import report_session
from soak_pipeline.model.stage_outputs import SessionReport, StageStatus

LOOK_EVERY_S = 0.2
HOUSEKEEPING_EVERY_S = 5.0
TERM_GRACE_S = 1.5

logger = logging.getLogger(__name__)


class Ended(Exception):
    """The session is over; `status` and `reason` say how."""

    def __init__(self, status: StageStatus, reason: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Supervision:
    """The supervision of one session.

    Args:
        spec_path: file of its spec.
    """

    def __init__(self, spec_path: Path) -> None:
        self._spec_path = spec_path
        self._spec: LoadSpec = read_spec(spec_path)
        self._lease = LeaseFile(self._spec.control.lease)
        self._parent_pid = os.getppid()
        self._terminated = False
        self._driver: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        self._events: queue.SimpleQueue[MasterEvent] = queue.SimpleQueue()
        self._listener: threading.Thread | None = None
        self._zero_us: int | None = None
        self._finished_s: float | None = None
        self._telemetry = GeneratorTelemetry(self._spec)
        self._housekeeping_s = time.monotonic()
        session = self._spec.session
        self._limit_s = (
            time.monotonic()
            + start_limit_s(session)
            + session.duration_s
            + self._spec.plan.profile.request_timeout_s
            + 3 * END_SLACK_S
        )

    def run(self) -> SessionReport:
        """Runs the session to its end, or to the end of its lease, and writes its report."""
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        collector = SessionCollector(self._spec, self._telemetry.newest)
        try:
            with serve_metrics(self._spec.metrics_port, collector):
                self._start_driver()
                while True:
                    self._look()
                    time.sleep(LOOK_EVERY_S)
        except Ended as ended:
            status, reason = ended.status, ended.reason
        except Exception as error:
            logger.exception("the load supervisor failed")
            status, reason = StageStatus.FAILED, f"the load supervisor failed: {type(error).__name__}: {error}"
        self._stop_processes()
        self._telemetry.close()
        return report_session(self._spec, status, reason, self._zero_us)

    def _look(self) -> None:
        """One look at everything.

        Raises:
            Ended: the session is over.
        """
        self._check_lease()
        while not self._events.empty():
            self._take(self._events.get())
        self._check_processes()
        if time.monotonic() - self._housekeeping_s >= HOUSEKEEPING_EVERY_S:
            self._housekeeping_s = time.monotonic()
            compact_closed(self._spec.requests_dir)
            self._telemetry.gather(self._driver.pid if self._driver else 0)

    def _check_lease(self) -> None:
        if self._terminated:
            raise Ended(StageStatus.CUT_SHORT, "the load supervisor was told to stop")
        if self._lease.seconds_left() <= 0:
            raise Ended(StageStatus.CUT_SHORT, "the lease ended: the run was cancelled or whoever wanted it is gone")
        if os.getppid() != self._parent_pid:
            raise Ended(StageStatus.CUT_SHORT, "the process that wanted the load is gone")
        if time.monotonic() > self._limit_s:
            raise Ended(StageStatus.FAILED, "the load did not end in its time; see the load's log in control/")

    def _take(self, event: MasterEvent) -> None:
        match event:
            case Listening(port=port):
                for worker in self._workers:
                    _tell_port(worker, port)
            case Zeroed(zero_us=zero_us):
                self._zero_us = zero_us
            case Finished():
                self._finished_s = time.monotonic()
            case Failed(reason=reason):
                raise Ended(StageStatus.FAILED, reason)

    def _check_processes(self) -> None:
        driver = self._driver
        codes = [process.poll() for process in self._workers]
        driver_code = driver.poll() if driver else None
        if self._finished_s is not None:
            ended = driver_code is not None and all(code is not None for code in codes)
            if ended or time.monotonic() - self._finished_s > END_SLACK_S:
                raise Ended(StageStatus.COMPLETE)
            return
        for index, code in enumerate(codes):
            if code == EXIT_LEASE_LOST:
                raise Ended(StageStatus.CUT_SHORT, "the lease ended")
            if code is not None and self._heard_all():
                raise Ended(StageStatus.FAILED, f"load worker {index} was lost: {_ended_how(code)}")
        if driver_code is not None and self._heard_all():
            name = "the fan-out process" if self._spec.fanout else "the Locust master"
            raise Ended(StageStatus.FAILED, f"{name} was lost: {_ended_how(driver_code)}")

    def _heard_all(self) -> bool:
        """Whether the driver has nothing more to say: its own words explain an end better than an exit code."""
        if self._driver is not None and self._driver.poll() is not None and self._listener is not None:
            self._listener.join(timeout=1.0)
        return self._events.empty()

    def _start_driver(self) -> None:
        role = "fanout" if self._spec.fanout else "master"
        self._driver = self._spawn(role, stdout=subprocess.PIPE)
        if not self._spec.fanout:
            # They load their libraries while the master does, and then wait for its port.
            self._workers = [
                self._spawn("worker", str(index), stdin=subprocess.PIPE) for index in range(self._spec.workers)
            ]
        self._listener = threading.Thread(target=self._listen, args=(self._driver,), name="load-events", daemon=True)
        self._listener.start()

    def _listen(self, driver: subprocess.Popen[bytes]) -> None:
        assert driver.stdout is not None
        for line in driver.stdout:
            event = decode_event(line)
            if event is not None:
                self._events.put(event)

    def _spawn(
        self, role: str, *arguments: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"soak_pipeline.load.sender.{role}", str(self._spec_path), *arguments]
        environment = dict(os.environ)
        if role == "master":
            # It sends nothing, so it signs in nowhere.
            environment.pop(self._spec.plan.target.admin_password_env, None)
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, env=environment)

    def _stop_processes(self) -> None:
        processes = [process for process in (self._driver, *self._workers) if process is not None]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        limit_s = time.monotonic() + TERM_GRACE_S
        for process in processes:
            try:
                process.wait(timeout=max(0.0, limit_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _on_term(self, *_: object) -> None:
        self._terminated = True


class GeneratorTelemetry:
    """Gathers what the load processes say of themselves into the run's telemetry.

    Args:
        spec: the session.

    Attributes:
        newest: the last figures of each process, by owner and series.
    """

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self.newest: dict[str, Mapping[str, float]] = {}
        self._writer = TelemetryWriter(Path(spec.run_dir) / "telemetry", f"load-{spec.session.name}")
        self._clock = RunClock(spec.plan.epoch_unix_us)
        self._offsets = dict.fromkeys(range(spec.workers), 0)

    def gather(self, master_pid: int) -> None:
        """Takes what is new, adds the memory of master and supervisor, and puts it on disk."""
        now_us = self._clock.to_us(time.monotonic())
        for owner, pid in (("load-supervisor", os.getpid()), ("load-master", master_pid)):
            figures = {"rss_bytes": float(rss_bytes(pid))}
            if figures["rss_bytes"] > 0 and not (self._spec.fanout and pid == master_pid):
                self._take(TelemetryLine(time_us=now_us, owner=owner, figures=figures))
        self._take_lines()
        self._writer.flush()

    def close(self) -> None:
        """Takes the rest."""
        try:
            self._take_lines()
            self._writer.close()
        except OSError as error:
            logger.error("the generator's telemetry cannot be written: %s", error.strerror)

    def _take_lines(self) -> None:
        for index, offset in self._offsets.items():
            lines, self._offsets[index] = read_lines(self._spec.control.telemetry(index), offset)
            for line in lines:
                self._take(line)

    def _take(self, line: TelemetryLine) -> None:
        self.newest[line.owner] = line.figures
        self._writer.append(line.samples())


def _tell_port(worker: subprocess.Popen[bytes], port: int) -> None:
    assert worker.stdin is not None
    try:
        worker.stdin.write(f"{port}\n".encode())
        worker.stdin.close()
    except BrokenPipeError:
        # It is gone already, which the next look at the processes finds.
        return


def _ended_how(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}; see the load's log in control/"


def main(arguments: Sequence[str]) -> int:
    """Supervises one session; 0 when its report was written, whatever it says."""
    (spec_path,) = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s supervisor %(levelname)s %(message)s")
    report = Supervision(Path(spec_path)).run()
    logger.info("session %s: %s %s", report.name, report.status, report.reason)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
