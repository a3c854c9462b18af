"""Starts and stops the reference platform as another program; its code is never imported.

A stack that `soak run` started is marked with the process that owns it. When that process is gone, the stack is a
leftover of a crash: the guardian of its run removes it (`python -m soak_pipeline.commands.embedded_stack`), else the
next run replaces it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.run_folder import read_json, write_json
from soak_pipeline.model.errors import EvidenceUnreadable, HarnessFailed
from soak_pipeline.prove.platform import PLATFORM, run_platform_command
from soak_pipeline.stages.target_lock import state_dir


class _Owner(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    started_unix_s: float


def stack_command(*arguments: str, environment: Mapping[str, str]) -> int:
    """Runs `acp ...` with this terminal; returns its exit code."""
    return subprocess.run(
        [sys.executable, *PLATFORM, *arguments], env=dict(environment), cwd=PROJECT_ROOT, check=False
    ).returncode


def stack_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The addresses and credentials of the running stack, by variable; empty when it does not run."""
    answer = run_platform_command(environment, "env")
    if answer.returncode != 0:
        return {}
    words = (word for line in answer.stdout.splitlines() for word in shlex.split(line.removeprefix("export ")))
    return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def embedded_stack(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The stack's environment, while the stack runs; it is stopped afterwards unless it ran before.

    Raises:
        HarnessFailed: the stack does not start.
    """
    owner_file = _owner_file(environment)
    with _changing_owner(environment):
        running = stack_environment(environment)
        if running and not _is_leftover(owner_file):
            owned = False
        else:
            if running:
                _quietly("down", environment)
            write_json(owner_file, _Owner(pid=os.getpid(), started_unix_s=psutil.Process().create_time()))
            owned = True
    if not owned:
        yield {**environment, **running}
        return
    try:
        _quietly("up", environment, "--fresh")
        yield {**environment, **stack_environment(environment)}
    except BaseException:
        # What broke is the news; a stack that does not stop either is replaced as a leftover by the next run.
        with suppress(HarnessFailed):
            _quietly("down", environment)
            owner_file.unlink(missing_ok=True)
        raise
    _quietly("down", environment)
    owner_file.unlink(missing_ok=True)


def command_to_remove_own_stack(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Command that removes the stack once this process is gone; empty when the stack is not this process's."""
    try:
        owner = read_json(_owner_file(environment), _Owner)
    except EvidenceUnreadable:
        return ()
    return (sys.executable, "-m", "soak_pipeline.commands.embedded_stack") if owner.pid == os.getpid() else ()


def remove_leftover_stack(environment: Mapping[str, str]) -> bool:
    """Stops a stack whose owner is gone; one that has an owner again is left alone.

    Returns:
        Whether there was one.

    Raises:
        HarnessFailed: it does not stop.
    """
    owner_file = _owner_file(environment)
    with _changing_owner(environment):
        if not _is_leftover(owner_file):
            return False
        _quietly("down", environment)
        owner_file.unlink(missing_ok=True)
    return True


def _owner_file(environment: Mapping[str, str]) -> Path:
    return state_dir(environment) / "stack_owner.json"


@contextmanager
def _changing_owner(environment: Mapping[str, str]) -> Iterator[None]:
    """Held while it is decided whose the stack is: a leftover must not be removed under its next owner."""
    path = _owner_file(environment).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_leftover(owner_file: Path) -> bool:
    """Whether the stack was started by a `soak run` that no longer exists."""
    try:
        owner = read_json(owner_file, _Owner)
    except EvidenceUnreadable:
        return False
    try:
        return abs(psutil.Process(owner.pid).create_time() - owner.started_unix_s) > 1.0
    except psutil.NoSuchProcess:
        return True


def _quietly(action: str, environment: Mapping[str, str], *options: str) -> None:
    answer = run_platform_command(environment, action, *options)
    if answer.returncode != 0:
        raise HarnessFailed(
            f"the embedded stack: `acp {action}` ended with {answer.returncode}: {answer.stderr.strip()}"
        )


if __name__ == "__main__":
    remove_leftover_stack(os.environ)
