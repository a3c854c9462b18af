"""`up`, `down`, `status` and `env`: an embedded stack as its user sees it.

Owns choosing ports, cleaning up after a crash and waiting. The running itself is the supervisor's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.acp import patience, processes
from infra.acp.embedded import postgres, redis
from infra.acp.faults import Values
from infra.acp.ports import is_free
from infra.acp.state import ProcessRecord, StackRecord, StateDirectory, StateError, connection_environment
from infra.acp.supervisor import SUPERVISOR_LOCK, WORKER_ROLES, external_stores, open_log, python_processes

UP_LOCK = "up.lock"
PREFERRED_PORTS = {"gateway": 18000, "postgres": 15433, "redis": 16380}
FIRST_METRICS_PORT = 18100
#: Unless it is named, the first administration port is so far behind the first one for metrics.
ADMIN_PORTS_BEHIND = 50
PORTS_TRIED = 200
#: Ports that are free when they are chosen may be taken a moment later; then others are chosen, so often in all.
PORTS_CHOSEN = 3


class StackError(RuntimeError):
    """The stack cannot be brought where it should be; the message says why, and where to look."""


@dataclass(frozen=True, slots=True)
class UpResult:
    """`was_up` says that it ran already, and nothing was changed."""

    record: StackRecord
    was_up: bool
    duration_s: float


def up(
    state: StateDirectory,
    *,
    workers: int | None = None,
    fresh: bool = False,
    set_faults: Mapping[str, Values] | None = None,
) -> UpResult:
    """Start the stack of a state directory, unless it runs already, and wait until it serves.

    Args:
        workers: gateway processes; default $ACP_GATEWAY_WORKERS, else 2.
        fresh: begin with empty stores. Refused while the stack runs.
        set_faults: faults that its processes have from the start, with their parameters. Refused while the stack runs.

    Raises:
        StackError: it did not come up, or it runs and `fresh` or a fault was asked.
        StateError: the state directory cannot be used.
    """
    began = time.monotonic()
    state.create()
    with state.locked(UP_LOCK, patience.UP_S):
        if state.is_locked(SUPERVISOR_LOCK):
            if fresh:
                raise StackError(
                    f"the stack in {state.path} runs; stop it with `down` before starting it with empty stores"
                )
            if set_faults:
                raise StackError(f"the stack in {state.path} runs; set its faults with `fault set`, or stop it first")
            return UpResult(_wait_until_up(state), True, time.monotonic() - began)
        clean_up(state)
        postgres.remove_abandoned()
        if fresh:
            _wipe(state)
        state.ensure_secrets(os.environ.get("ACP_ADMIN_PASSWORD", ""))
        state.write_faults(set_faults or {})
        return UpResult(_start(state, workers), False, time.monotonic() - began)


def _start(state: StateDirectory, workers: int | None) -> StackRecord:
    """Start the supervisor and wait for it; again on other ports when somebody else was quicker to take one."""
    for tries_left in reversed(range(PORTS_CHOSEN)):
        record = _plan(workers)
        state.write_record(record)
        supervisor = _start_supervisor(state)
        try:
            return _wait_until_up(state, supervisor)
        except BaseException as error:
            _terminate(supervisor)
            # Nothing of ours listens any more, or keeps a port.
            if not isinstance(error, StackError) or not tries_left or all(map(is_free, record.ports.values())):
                raise
    raise AssertionError("the last try returns or raises")


def down(state: StateDirectory) -> bool:
    """Stop the stack, and whatever a crash has left of it. Returns False when nothing ran.

    Raises:
        StackError: something could not be stopped.
    """
    if not state.path.exists():
        return False
    record = state.read_record()
    supervisor = next((item for item in record.processes if item.name == "supervisor"), None) if record else None
    running = processes.find(supervisor) if supervisor else None
    if supervisor is not None and running is not None:
        running.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience.DOWN_S
        # Not by its lock, which it gives up a moment before it ends.
        while processes.find(supervisor) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if processes.find(supervisor) is not None:
            processes.stop([running], signal.SIGKILL, 5.0)
    left = clean_up(state)
    return running is not None or left > 0


def status(state: StateDirectory) -> dict[str, Any]:
    """What runs: phase, ports, and per process its name, pid, start, ports, memory and restarts. Nothing secret."""
    record = state.read_record()
    if record is None:
        return {"phase": "down", "state_dir": str(state.path), "processes": []}
    found = [_process_status(item) for item in record.processes]
    supervised = state.is_locked(SUPERVISOR_LOCK)
    return {
        "phase": record.phase if supervised or record.phase == "failed" else "crashed",
        "state_dir": str(state.path),
        "gateway_url": f"http://127.0.0.1:{record.ports['gateway']}",
        "ports": record.ports,
        "problem": record.problem,
        "processes": found,
    }


def environment(state: StateDirectory) -> dict[str, str]:
    """The variables by which a user reaches the running stack, secrets included.

    Raises:
        StackError: no stack runs in the state directory.
    """
    record, secret = state.read_record(), state.read_secrets()
    if record is None or not secret or record.phase != "up" or not state.is_locked(SUPERVISOR_LOCK):
        raise StackError(f"no stack runs in {state.path}; start it with `up`")
    pages = [f"{role}=http://127.0.0.1:{record.ports[f'{role}_metrics']}/metrics" for role in WORKER_ROLES]
    return connection_environment(record, secret, external_stores()) | {"ACP_METRICS_URLS": ",".join(pages)}


def clean_up(state: StateDirectory) -> int:
    """Stop what a crashed supervisor has left running; returns how many processes. Not to be called while one runs."""
    if state.is_locked(SUPERVISOR_LOCK):
        raise StackError(f"the stack in {state.path} is still supervised")
    record = state.read_record()
    left = [found for item in record.processes if (found := processes.find(item))] if record else []
    databases = [process for process in left if _is_postgres(process)]
    others = [process for process in left if process not in databases]
    orphan = _orphaned_postmaster(state)
    if orphan is not None and orphan not in databases:
        databases.append(orphan)
    processes.stop(others, signal.SIGTERM, 10.0)
    processes.stop(databases, signal.SIGINT, 15.0)
    state.remove_record()
    return len(others) + len(databases)


def free_port(preferred: int, taken: set[int]) -> int:
    """The first free loopback port from the preferred one on.

    Raises:
        StackError: none of PORTS_TRIED ports is free.
    """
    for port in range(preferred, preferred + PORTS_TRIED):
        if port in taken:
            continue
        if is_free(port):
            taken.add(port)
            return port
    raise StackError(f"no free port from {preferred} to {preferred + PORTS_TRIED - 1} on 127.0.0.1")


def _plan(workers: int | None) -> StackRecord:
    """Choose ports and sizes."""
    taken: set[int] = set()
    ports = {
        name: free_port(_number(f"ACP_{name.upper()}_PORT", preferred), taken)
        for name, preferred in PREFERRED_PORTS.items()
    }
    first = _number("ACP_METRICS_FIRST_PORT", FIRST_METRICS_PORT)
    for name in ("gateway", *WORKER_ROLES):
        ports[f"{name}_metrics"] = free_port(first, taken)
    external = external_stores()
    count = workers if workers is not None else _number("ACP_GATEWAY_WORKERS", 2)
    if count < 1:
        raise StackError(f"{count} gateway workers, must be at least 1")
    first_admin = _number("ACP_ADMIN_FIRST_PORT", first + ADMIN_PORTS_BEHIND)
    if first_admin:
        for name in python_processes(count):
            ports[f"{name}_admin"] = free_port(first_admin, taken)
    return StackRecord(
        phase="starting",
        ports=ports,
        workers=count,
        admin_email=os.environ.get("ACP_ADMIN_EMAIL") or "admin@acp.local",
        external_postgres="postgres" in external,
        external_redis="redis" in external,
    )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise StackError(f"{name} is {text!r}, must be a whole number") from None


def _start_supervisor(state: StateDirectory) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that it outlives its starter's terminal."""
    with open_log(state.logs / "supervisor.log") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.acp", "run", "supervisor"],
            env=os.environ | {"ACP_STATE_DIR": str(state.path)},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_up(state: StateDirectory, supervisor: subprocess.Popen[bytes] | None = None) -> StackRecord:
    deadline = time.monotonic() + patience.UP_S
    while time.monotonic() < deadline:
        record = state.read_record()
        if record is not None and record.phase == "up":
            return record
        ended = supervisor is not None and supervisor.poll() is not None
        if ended or (record is not None and record.phase == "failed"):
            problem = record.problem if record is not None and record.problem else "the supervisor ended"
            raise StackError(f"the stack did not come up: {problem}; see {state.logs}")
        time.sleep(0.02)
    raise StackError(f"the stack did not come up within {patience.UP_S:.0f} s; see {state.logs}")


def _terminate(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(patience.DOWN_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _wipe(state: StateDirectory) -> None:
    try:
        postgres.embedded(state.path, 0).wipe()
        redis.embedded(state.path, 0).wipe()
    except (postgres.PostgresError, redis.RedisError) as error:
        raise StateError(str(error)) from None


def _process_status(item: ProcessRecord) -> dict[str, Any]:
    process = processes.find(item)
    return {
        "name": item.name,
        "pid": item.pid,
        "started_at": item.started_at,
        "alive": process is not None,
        "ports": item.ports,
        "restarts": item.restarts,
        "rss_bytes": processes.resident_bytes(process)
        if process is not None and item.name != "supervisor"
        else _own_rss(process),
    }


def _own_rss(process: psutil.Process | None) -> int:
    """The supervisor's children are listed by themselves."""
    return int(process.memory_info().rss) if process is not None else 0


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return "postgres" in process.name()
    except psutil.NoSuchProcess:
        return False


def _orphaned_postmaster(state: StateDirectory) -> psutil.Process | None:
    """The server that the data directory names, if it is one of ours and still runs."""
    try:
        server = postgres.embedded(state.path, 0)
    except postgres.PostgresError:
        return None
    pid = server.postmaster_pid()
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        return process if _is_postgres(process) and str(server.data) in process.cmdline() else None
    except psutil.NoSuchProcess:
        return None
