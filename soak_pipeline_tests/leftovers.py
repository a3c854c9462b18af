"""Processes that a test run has started and that outlive it.

They are known by a mark in their environment, which every child inherits, by the run's temporary folder on their
command line, and by their parents: a server that names itself, such as Redis or PostgreSQL, writes over its
environment. The environment also names the test that started them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK_VARIABLE = "PYTEST_RUN_MARK"
"""Its name begins with nothing that tests take out of an environment."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that should have ended.

    Attributes:
        process: itself.
        command: its command line.
        test: the test that started it; empty where its environment does not tell.
    """

    process: psutil.Process
    command: str
    test: str

    def __str__(self) -> str:
        return f"pid {self.process.pid}, started by {self.test or 'the test run'}: {self.command}"


def leftovers(mark: str, folder: Path) -> list[Leftover]:
    """Processes of a test run that are still there; this one and those that it belongs to do not count.

    Args:
        mark: the run's value of `MARK_VARIABLE`.
        folder: the run's temporary folder.
    """
    own = psutil.Process()
    family = {own.pid, *(parent.pid for parent in own.parents())}
    marked = {found.process: found for found in _all(mark, folder) if found.process.pid not in family}
    for parent in [*marked.values()]:
        with contextlib.suppress(psutil.Error):
            for child in parent.process.children(recursive=True):
                marked.setdefault(child, Leftover(child, _command_of(child), parent.test))
    return [*marked.values()]


def _all(mark: str, folder: Path) -> Iterator[Leftover]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            environment = _environment_of(process)
            # A run within a run has both marks.
            if mark in environment.get(MARK_VARIABLE, "").split() or f"{folder}{os.sep}" in command:
                yield Leftover(process, command, environment.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0])


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.AccessDenied:
        # Another account's: not ours unless its command line says so.
        return {}


def lasting(mark: str, folder: Path, patience_s: float) -> list[Leftover]:
    """Those that do not end by themselves in time, as what has been told to end does."""
    limit_s = time.monotonic() + patience_s
    while (found := leftovers(mark, folder)) and time.monotonic() < limit_s:
        time.sleep(0.2)
    return found


def end(mark: str, folder: Path) -> None:
    """Kills them, and what one of them has started again meanwhile."""
    while found := leftovers(mark, folder):
        # Nobody starts anything again while it is stopped.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for leftover in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    leftover.process.send_signal(number)
        psutil.wait_procs([leftover.process for leftover in found], timeout=1.0)
