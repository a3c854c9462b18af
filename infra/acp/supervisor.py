"""The process that runs an embedded stack: starts its parts in order, restarts what dies, stops all at the end.

Owns the children of one state directory and the record of them. It is started by `stack.up` and told to end by SIGTERM.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from infra.acp import faults, patience, ports, processes
from infra.acp.embedded import postgres, redis
from infra.acp.seed import seed_admin
from infra.acp.state import ProcessRecord, StackRecord, StateDirectory, connection_environment, dsn_of

logger = logging.getLogger(__name__)

SUPERVISOR_LOCK = "supervisor.lock"
WORKER_ROLES = ("audit", "usage", "flight", "sealer", "graph")
#: Nice levels: the gateway and Redis are on the way of every request, the others are not. Only root may go below 0.
NICE = {
    "gateway": -5,
    "redis": -5,
    "postgres": 3,
    "metrics": 5,
    "audit": 5,
    "usage": 10,
    "flight": 10,
    "sealer": 10,
    "graph": 10,
}
POLL_INTERVAL_S = 0.2
RESTART_DELAY_FIRST_S = 0.2
RESTART_DELAY_MOST_S = 10.0
#: A child that ran for this long is restarted without a longer delay.
STEADY_AFTER_S = 30.0
#: A child that died this often while the stack was starting is given up.
STARTS_TRIED = 3
LOG_KEPT_BYTES = 5_000_000

Secrets = dict[str, str]


@dataclass(slots=True)
class Child:
    """One process that the supervisor keeps running."""

    name: str
    role: str
    command: list[str]
    environment: dict[str, str]
    ports: list[int]
    stop_signal: int = signal.SIGTERM
    standard_input: bytes = b""
    options: dict[str, object] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    delay_s: float = RESTART_DELAY_FIRST_S
    due: float = 0.0


class Supervisor:
    """The running stack of one state directory.

    Args:
        state: the directory; its lock is held by the caller.
        record: ports and sizes, chosen by `up`.
        secret: the stack's secrets.
        external: DSN and URL of stores that are not embedded.
    """

    def __init__(self, state: StateDirectory, record: StackRecord, secret: Secrets, external: dict[str, str]) -> None:
        self._state = state
        self._record = record
        self._secret = secret
        self._connections = connection_environment(record, secret, external)
        self._admin_dsn = external.get("postgres") or dsn_of(self._connections["ACP_AUDIT_DSN"], "postgres")
        self._children: list[Child] = []
        self._stopping = False

    def run(self) -> int:
        """Start everything, keep it running until SIGTERM or SIGINT, and stop everything.

        Returns:
            0 after a requested stop, 1 when the stack could not be started.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        try:
            with ports.reserved(self._record.ports.values()):
                self._start_all()
                self._write_phase("up")
                while not self._stopping:
                    self._restart_dead()
                    time.sleep(POLL_INTERVAL_S)
        except _StopRequested:
            pass
        except Exception as error:
            logger.exception("the stack could not be started")
            self._stop_all()
            self._record.problem = f"{type(error).__name__}: {error}"
            self._write_phase("failed")
            return 1
        self._write_phase("stopping")
        self._stop_all()
        self._state.remove_record()
        return 0

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _start_all(self) -> None:
        self._write_phase("starting")
        shutil.rmtree(self._state.metrics, ignore_errors=True)
        self._state.create()
        # PostgreSQL first: what Redis remembers is worth nothing without the rows that it speaks of.
        for child in (*self._postgres_child(), *self._redis_child()):
            self._start(child)
        postgres.wait_until_ready(self._admin_dsn, patience.START_S, self._give_up_if_a_store_ended)
        self._give_up_if_stopping()
        from infra.acp import schema

        schema.apply(lambda database: dsn_of(self._admin_dsn, database))
        seed_admin(
            self._connections["ACP_IDENTITY_DSN"], self._record.admin_email, self._connections["ACP_ADMIN_PASSWORD"]
        )
        redis.wait_until_ready(self._connections["ACP_REDIS_URL"], patience.START_S, self._give_up_if_a_store_ended)
        for child in (*self._worker_children(), *self._gateway_children()):
            self._start(child)
        self._wait_until_healthy()

    def _redis_child(self) -> list[Child]:
        if self._record.external_redis:
            return []
        server = redis.embedded(self._state.path, self._record.ports["redis"])
        server.prepare()
        return [
            Child(
                "redis",
                "redis",
                server.command(),
                {},
                [server.port],
                standard_input=server.configuration(self._secret["redis_password"]),
            )
        ]

    def _postgres_child(self) -> list[Child]:
        if self._record.external_postgres:
            return []
        server = postgres.embedded(self._state.path, self._record.ports["postgres"])
        if server.prepare(self._secret["postgres_password"]) and not self._record.external_redis:
            redis.embedded(self._state.path, 0).wipe()
        # SIGINT is PostgreSQL's fast shutdown: open transactions are rolled back.
        return [
            Child(
                "postgres",
                "postgres",
                server.command(),
                {},
                [server.port],
                stop_signal=signal.SIGINT,
                options=server.process_options(),
            )
        ]

    def _worker_children(self) -> list[Child]:
        roles = [self._python_child(role, role, self._record.ports[f"{role}_metrics"]) for role in WORKER_ROLES]
        return [*roles, self._python_child("metrics", "metrics", self._record.ports["gateway_metrics"])]

    def _gateway_children(self) -> list[Child]:
        port = self._record.ports["gateway"]
        return [self._python_child(f"gateway-{number}", "gateway", port) for number in range(self._record.workers)]

    def _python_child(self, name: str, role: str, port: int) -> Child:
        environment = self._connections | {
            "ACP_JWT_SECRET": self._secret["jwt_secret"],
            "ACP_SIGNING_KEY": self._secret["signing_key"],
            "ACP_PROCESS_NAME": name,
            "ACP_METRICS_DIR": str(self._state.metrics),
            "ACP_GATEWAY_PORT": str(self._record.ports["gateway"]),
            "ACP_GATEWAY_METRICS_PORT": str(self._record.ports["gateway_metrics"]),
            "ACP_METRICS_PORT": str(port) if role in WORKER_ROLES else "0",
            "ACP_ADMIN_PORT": str(self._record.ports.get(f"{name}_admin", 0)),
            "ACP_ADMIN_TOKEN": self._secret["admin_token"],
            # One thread per process computes; more would only fight for the two cores.
            "OMP_NUM_THREADS": "1",
        }
        return Child(name, role, [sys.executable, "-m", "infra.acp", "run", role], environment, [port])

    def _start(self, child: Child) -> None:
        """Start a child with the faults that are set now, so that a restarted one has those that it had."""
        set_faults = faults.as_text(faults.of_role(self._state.read_faults(), child.role))
        with self._log(child.name) as log:
            process = subprocess.Popen(
                child.command,
                env=_inherited_environment() | child.environment | {faults.ENVIRONMENT_VARIABLE: set_faults},
                stdin=subprocess.PIPE if child.standard_input else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/" if child.options else None,
                **child.options,  # type: ignore[call-overload]
            )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE[child.role])
        if process.stdin is not None:
            process.stdin.write(child.standard_input)
            process.stdin.close()
        child.process, child.started = process, time.monotonic()
        if child not in self._children:
            self._children.append(child)
        self._write_phase(self._record.phase)

    def _restart_dead(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            if not child.due:
                steady = now - child.started > STEADY_AFTER_S
                child.delay_s = RESTART_DELAY_FIRST_S if steady else min(2 * child.delay_s, RESTART_DELAY_MOST_S)
                child.due = now + child.delay_s
                logger.warning("%s (pid %d) ended with %s", child.name, child.process.pid, child.process.returncode)
                self._forget_gauges(child)
            if now >= child.due:
                child.restarts += 1
                child.due = 0.0
                logger.warning("%s is restarted, for the %d. time", child.name, child.restarts)
                self._start(child)

    def _forget_gauges(self, child: Child) -> None:
        """Remove what a dead gateway worker last wrote of itself; its counters stay."""
        if child.role == "gateway" and child.process is not None:
            for file in self._state.metrics.glob(f"gauge_live*_{child.process.pid}.db"):
                file.unlink(missing_ok=True)

    def _wait_until_healthy(self) -> None:
        """Waits for the gateway, and for every page of metrics: background processes are slower to start."""
        deadline = time.monotonic() + patience.START_S
        self._wait_for_answer(f"http://127.0.0.1:{self._record.ports['gateway']}/health", deadline)
        for owner in (*WORKER_ROLES, "gateway"):
            self._wait_for_answer(f"http://127.0.0.1:{self._record.ports[f'{owner}_metrics']}/metrics", deadline)

    def _wait_for_answer(self, url: str, deadline: float) -> None:
        while not _answers(url):
            self._give_up_if_stopping()
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing answers at {url} after {patience.START_S:.0f} s; see {self._state.logs}")
            self._restart_dead()
            for child in self._children:
                if child.restarts >= STARTS_TRIED:
                    raise RuntimeError(f"{child.name} does not start; see {self._state.logs / child.name}.log")
            time.sleep(0.05)

    def _stop_all(self) -> None:
        """Stop the children in the reverse order of their start, those of one role together."""
        groups: dict[str, list[Child]] = {}
        for child in reversed(self._children):
            group = child.role if child.role in ("gateway", "redis", "postgres") else "workers"
            groups.setdefault(group, []).append(child)
        for children in groups.values():
            running = [child for child in children if child.process is not None and child.process.poll() is None]
            for child in running:
                _signal(child, child.stop_signal)
            deadline = time.monotonic() + patience.STOP_S
            for child in running:
                if child.process is None:
                    continue
                try:
                    child.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    logger.error("%s does not end and is killed", child.name)
                    child.process.kill()
                    child.process.wait()

    def _give_up_if_a_store_ended(self) -> None:
        """A store that ends while the stack starts does so again: its port is taken, or its data is broken."""
        self._give_up_if_stopping()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                log = self._state.logs / f"{child.name}.log"
                raise RuntimeError(f"{child.name} ended with {child.process.returncode} while it started; see {log}")

    def _give_up_if_stopping(self) -> None:
        if self._stopping:
            raise _StopRequested

    def _write_phase(self, phase: str) -> None:
        self._record.phase = phase
        own = ProcessRecord("supervisor", os.getpid(), processes.started_at(os.getpid()))
        running = [child for child in self._children if child.process is not None]
        self._record.processes = [own] + [
            ProcessRecord(
                child.name, child.process.pid, processes.started_at(child.process.pid), child.ports, child.restarts
            )
            for child in running
            if child.process is not None
        ]
        self._state.write_record(self._record)

    def _log(self, name: str):  # type: ignore[no-untyped-def]
        return open_log(self._state.logs / f"{name}.log")


class _StopRequested(Exception):
    """SIGTERM came while the stack was starting."""


def open_log(path: Path):  # type: ignore[no-untyped-def]
    """A log to append to; a large one is begun anew, its predecessor kept."""
    if path.exists() and path.stat().st_size > LOG_KEPT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def main(state: StateDirectory) -> int:
    """Run the stack that `stack.json` of the state directory describes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s supervisor %(levelname)s %(message)s")
    record, secret = state.read_record(), state.read_secrets()
    if record is None or not secret:
        raise SystemExit(f"{state.path} describes no stack; start one with `python -m infra.acp up`")
    with state.locked(SUPERVISOR_LOCK, 5.0):
        return Supervisor(state, record, secret, external_stores()).run()


def python_processes(workers: int) -> dict[str, str]:
    """The processes of a stack that run this package, by name, with the role of each.

    Args:
        workers: gateway processes.
    """
    background = (*WORKER_ROLES, "metrics")
    return {f"gateway-{number}": "gateway" for number in range(workers)} | {role: role for role in background}


def external_stores() -> dict[str, str]:
    """Stores that the environment names instead of the embedded ones."""
    named = {"postgres": "ACP_EXTERNAL_POSTGRES_DSN", "redis": "ACP_EXTERNAL_REDIS_URL"}
    return {store: os.environ[name] for store, name in named.items() if os.environ.get(name)}


def _inherited_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=patience.ANSWER_S) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _signal(child: Child, number: int) -> None:
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(number)
