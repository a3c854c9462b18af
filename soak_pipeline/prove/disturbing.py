"""What is done to a run while it goes: faults for as long as its soak goes, and harm to the harness itself.

Owns when and how. Touches only processes that the run itself has started, found below its own process.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.model.plan import SOAK_SESSION
from soak_pipeline.model.progress import PROGRESS_FILE, Progress
from soak_pipeline.model.traffic import Phase
from soak_pipeline.prove.platform import run_platform_command
from soak_pipeline.prove.relay import MetricsRelays
from soak_pipeline.prove.rows import Disturbance, Row, When

LATE_S = 3.0
"""Harm that costs the rest of the soak is done this long before its end (seconds), so that enough of it is judged."""

STOPPED_S, RUNNING_S = 0.15, 0.10
"""A starved process: it gets the CPU for `RUNNING_S`, then is kept from it for `STOPPED_S` (seconds)."""


class Planting:
    """The planting of one row, look by look.

    Args:
        row: which.
        pid: of its `soak run`.
        reports: where its run folder will be.
        variables: its environment, with which the platform's command reaches its platform.
        relays: between its sampler and the metrics pages, where the row wants them.
    """

    def __init__(
        self, row: Row, pid: int, reports: Path, variables: Mapping[str, str], relays: MetricsRelays | None
    ) -> None:
        self._row = row
        self._pid = pid
        self._reports = reports
        self._variables = dict(variables)
        self._relays = relays
        self._faults = [fault for fault in row.faults if fault.when is When.SOAK]
        self._switched_on: list[str] = []
        self._problem = ""
        self._disturbed = row.disturbance is None
        self._starving: threading.Thread | None = None

    def look(self) -> str:
        """Plants what is due now; returns what the run is about, for a display."""
        progress = self._progress()
        if progress is None:
            return ""
        if progress.session == SOAK_SESSION and progress.phase != "ended":
            for fault in self._faults:
                self._switch("set", fault.name, *fault.assignments())
                self._switched_on.append(fault.name)
            self._faults = []
            if not self._disturbed and self._is_time(progress):
                self._disturb()
        if progress.session == SOAK_SESSION and progress.phase == "ended":
            for name in self._switched_on:
                self._switch("clear", name)
            self._switched_on = []
        return f"{progress.session} {progress.phase}"

    def problem(self) -> str:
        """Why the row proves nothing: what should have been planted was not; empty when all of it was."""
        if self._problem:
            return self._problem
        unplanted = [fault.name for fault in self._faults]
        if self._row.disturbance and not self._disturbed:
            unplanted.append(self._row.disturbance.value)
        return f"{', '.join(unplanted)} could not be planted: the soak's load never came to it" if unplanted else ""

    def _is_time(self, progress: Progress) -> bool:
        if progress.phase != Phase.SOAK:
            return False
        is_final = self._row.disturbance in (Disturbance.KILL_LOAD_WORKER, Disturbance.STOP_LOAD_SUPERVISOR)
        return progress.seconds_left <= LATE_S or not is_final

    def _disturb(self) -> None:
        actions: Mapping[Disturbance, Callable[[], bool]] = {
            Disturbance.STARVE_LOAD_WORKER: self._starve,
            Disturbance.KILL_LOAD_WORKER: lambda: self._send("soak_pipeline.load.sender.worker", signal.SIGKILL),
            Disturbance.STOP_LOAD_SUPERVISOR: lambda: self._send("soak_pipeline.load.supervision", signal.SIGTERM),
            Disturbance.BLOCK_TELEMETRY: self._block,
        }
        assert self._row.disturbance is not None
        self._disturbed = actions[self._row.disturbance]()

    def _send(self, module: str, number: signal.Signals) -> bool:
        process = self._process(module)
        if process is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        return True

    def _starve(self) -> bool:
        process = self._process("soak_pipeline.load.sender.worker")
        if process is None:
            return False
        self._starving = threading.Thread(target=starve, args=(process,), name="starving", daemon=True)
        self._starving.start()
        return True

    def _block(self) -> bool:
        if self._relays is None:
            return False
        self._relays.block()
        return True

    def _switch(self, action: str, name: str, *assignments: str) -> None:
        answer = run_platform_command(self._variables, "fault", action, name, *assignments)
        if answer.returncode != 0:
            done = "cleared" if action == "clear" else "set"
            self._problem = f"fault {name} could not be {done}: {answer.stderr.strip() or answer.stdout.strip()}"

    def _progress(self) -> Progress | None:
        path = next(iter(self._reports.glob(f"soak/*Z/control/{PROGRESS_FILE}")), None)
        return None if path is None else read_progress(path)

    def _process(self, module: str) -> psutil.Process | None:
        """The process of the run that runs a module."""
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if module in process.cmdline():
                        return process
        return None


def starve(process: psutil.Process) -> None:
    """Keeps a process from the CPU most of the time, for as long as it lives."""
    with contextlib.suppress(psutil.Error):
        while process.is_running():
            process.suspend()
            try:
                _gone(process, STOPPED_S)
            finally:
                process.resume()
            _gone(process, RUNNING_S)


def _gone(process: psutil.Process, seconds: float) -> bool:
    """Waits, but not longer than the process lives."""
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    return True
