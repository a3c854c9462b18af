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
    """Whether a living process holds a target for a run.

    Reads what the holder wrote and never touches the lock: a look must not keep a run from starting.
    """
    try:
        text = _lock_path(target, environment).read_text()
    except OSError:
        return False
    holder = _HOLDER.fullmatch(text)
    return holder is not None and holder["run_id"] == run_id and psutil.pid_exists(int(holder["pid"]))


def holder_of_target(target: str, environment: Mapping[str, str]) -> str | None:
    """Who holds the lock of a target on this machine, in words; None when it is free."""
    try:
        with _lock_path(target, environment).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "unknown"
    except FileNotFoundError:
        pass
    return None


def release_target(target: str, environment: Mapping[str, str]) -> None:
    """Gives the lock back; without it held, nothing happens."""
    file = _held.pop(_lock_path(target, environment), None)
    if file is not None:
        file.close()


def _lock_path(target: str, environment: Mapping[str, str]) -> Path:
    return state_dir(environment) / "locks" / f"{target}.lock"
