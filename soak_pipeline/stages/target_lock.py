"""One soak per target at a time: a lock that the operating system drops with the process that holds it.

Works across Dagster instances, terminals and schedulers of one machine; a Dagster pool keeps order within an instance.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import psutil

from soak_pipeline.model.errors import AlreadyRunning

CLOCK_SLACK_S = 2.0
"""Between the kernel's record of a process's start, which follows no later setting of the clock, and a file's time."""

_HOLDER = re.compile(r"run (?P<run_id>\S+), process (?P<pid>\d+)")
_held: dict[Path, TextIO] = {}


def state_dir(environment: Mapping[str, str]) -> Path:
    """Where the harness keeps what is not evidence: locks and the Dagster home."""
    explicit = environment.get("SOAK_STATE_DIR")
    if explicit:
        return Path(explicit)
    base = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".local" / "state"
    return Path(base) / "soak-pipeline"


def dagster_home(environment: Mapping[str, str]) -> Path:
    """Where Dagster keeps its runs: `DAGSTER_HOME`, else a folder of the state directory."""
    return Path(environment.get("DAGSTER_HOME") or state_dir(environment) / "dagster").absolute()


def hold_target(target: str, run_id: str, environment: Mapping[str, str]) -> None:
    """Takes the lock of a target for this process; taking it again in the same process changes nothing.

    Raises:
        AlreadyRunning: another process holds it; the message names its run.
    """
    path = _lock_path(target, environment)
    if path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunning(
            f"target {target!r} is held by another soak ({holder}); wait for it or stop it: two soaks on one target"
            " would measure each other"
        ) from error
    file.truncate(0)
    file.write(f"run {run_id}, process {os.getpid()}")
    file.flush()
    _held[path] = file


def is_held_by(target: str, run_id: str, environment: Mapping[str, str]) -> bool:
    """Whether a living process holds a target for a run."""
    holder = _HOLDER.fullmatch(holder_of_target(target, environment) or "")
    return holder is not None and holder["run_id"] == run_id


def holder_of_target(target: str, environment: Mapping[str, str]) -> str | None:
    """Who holds the lock of a target on this machine, in words; None when it is free.

    Reads what the holder wrote and never touches the lock: a look must not keep a run from starting.
    """
    path = _lock_path(target, environment)
    try:
        text, written_unix_s = path.read_text(), path.stat().st_mtime
    except OSError:
        return None
    holder = _HOLDER.fullmatch(text)
    return text if holder is not None and _lived(int(holder["pid"]), written_unix_s) else None


def release_target(target: str, environment: Mapping[str, str]) -> None:
    """Gives the lock back; without it held, nothing happens."""
    file = _held.pop(_lock_path(target, environment), None)
    if file is not None:
        file.truncate(0)  # This process may live on, and who looks would take it for the holder.
        file.close()


def _lived(pid: int, unix_s: float) -> bool:
    """Whether a process lives that was there at a moment; one that came later has only inherited the id."""
    try:
        return psutil.Process(pid).create_time() <= unix_s + CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False


def _lock_path(target: str, environment: Mapping[str, str]) -> Path:
    return state_dir(environment) / "locks" / f"{target}.lock"
