"""Processes by name, pid and start time: so that no signal ever reaches a process that only inherited a pid."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

from infra.acp.state import ProcessRecord

#: Kernel start times are told in hundredths of a second, and the boot time may be adjusted.
START_TOLERANCE_S = 2.0


def started_at(pid: int) -> float:
    """When a process started, unix seconds; 0 when there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def find(record: ProcessRecord) -> psutil.Process | None:
    """The recorded process if it still runs, and not another one under its pid."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started_at) <= START_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def stop(processes: Iterable[psutil.Process], signal_number: int, timeout_s: float) -> None:
    """Signal processes, wait for them, and kill those that are still there after `timeout_s` seconds."""
    alive = list(processes)
    for process in alive:
        _send(process, signal_number)
    deadline = time.monotonic() + timeout_s
    while (alive := [process for process in alive if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in alive:
        _send(process, 9)
    psutil.wait_procs(alive, timeout=5)


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children, 0 when it has gone."""
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total


def _send(process: psutil.Process, signal_number: int) -> None:
    try:
        process.send_signal(signal_number)
    except psutil.NoSuchProcess:
        return


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
