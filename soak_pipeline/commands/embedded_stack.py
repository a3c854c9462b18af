"""Starts and stops the reference platform as another program; its code is never imported.

A stack that `soak run` started is marked with the process that owns it. When that process is gone, the stack is a
leftover of a crash and the next run replaces it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from soak_pipeline.evidence.run_folder import read_json, write_json
from soak_pipeline.model.errors import EvidenceUnreadable, HarnessFailed
from soak_pipeline.stages.target_lock import state_dir

PLATFORM = ("-m", "infra.acp")
PROJECT_ROOT = Path(__file__).resolve().parents[2]


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
    answer = subprocess.run(
        [sys.executable, *PLATFORM, "env"],
        env=dict(environment),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
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
    owner_file = state_dir(environment) / "stack_owner.json"
    running = stack_environment(environment)
    if running and not _is_leftover(owner_file):
        yield {**environment, **running}
        return
    if running:
        _quietly("down", environment)
    write_json(owner_file, _Owner(pid=os.getpid(), started_unix_s=psutil.Process().create_time()))
    try:
        _quietly("up", environment, "--fresh")
        yield {**environment, **stack_environment(environment)}
    except BaseException:
        # What broke is the news; a stack that does not stop either is replaced as a leftover by the next run.
        with suppress(HarnessFailed):
            _quietly("down", environment)
        raise
    _quietly("down", environment)
    owner_file.unlink(missing_ok=True)


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
    answer = subprocess.run(
        [sys.executable, *PLATFORM, action, *options],
        env=dict(environment),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise HarnessFailed(
            f"the embedded stack: `acp {action}` ended with {answer.returncode}: {answer.stderr.strip()}"
        )
