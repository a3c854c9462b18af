"""Watches the platform and the machine from outside: what the load generator says of itself is not asked.

When a request was decided is read from the platform's audit rows, when a tenant was blocked from its database, and what
is left running from the kernel.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.request_writer import salvage
from soak_pipeline.evidence.requests import RequestTable, read_requests
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.load.control import ControlFiles
from soak_pipeline.load.lease import LeaseFile
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import SOAK_SESSION, Plan
from soak_pipeline.model.traffic import request_id_of

LOOK_EVERY_S = 0.1


class PlatformWatch(threading.Thread):
    """Reads the platform's databases ten times a second, through its restarts, until it is stopped.

    Args:
        environment: with the platform's DSNs.
        plan: of the run.

    Attributes:
        decided_unix_s: by request id, when the gateway decided an execution.
        blocked_unix_s: by tenant id, when its `rpm_limit` was first seen to be 0.
        gone_unix_s: since when the gateway's port has been closed; None while it answers.
    """

    def __init__(self, environment: Mapping[str, str], plan: Plan) -> None:
        super().__init__(name="platform-watch", daemon=True)
        self._audit_dsn, self._identity_dsn = environment["ACP_AUDIT_DSN"], environment["ACP_IDENTITY_DSN"]
        self._address = environment["ACP_GATEWAY_URL"].removeprefix("http://").split(":")
        self._tenants = [tenant.tenant_id for tenant in plan.tenants]
        self._over = threading.Event()
        self._sequence = 0
        self.decided_unix_s: dict[str, float] = {}
        self.blocked_unix_s: dict[str, float] = {}
        self.gone_unix_s: float | None = None

    def run(self) -> None:
        """Looks until `stop`; a database that is away is asked again at the next look."""
        while not self._over.is_set():
            try:
                options: dict[str, Any] = {"autocommit": True, "connect_timeout": 1}
                with (
                    psycopg.connect(self._audit_dsn, **options) as audit,
                    psycopg.connect(self._identity_dsn, **options) as identity,
                ):
                    while not self._over.wait(LOOK_EVERY_S):
                        self._look(audit, identity)
            except psycopg.Error:
                self._over.wait(LOOK_EVERY_S)
            self._look_at_the_port()

    def stop(self) -> None:
        """Ends the thread."""
        self._over.set()
        self.join()

    @property
    def silent_unix_s(self) -> tuple[float | None, bool]:
        """Since when no tenant is served, and whether only because the platform was stopped."""
        if len(self.blocked_unix_s) == len(self._tenants):
            return max(self.blocked_unix_s.values()), False
        return self.gone_unix_s, self.gone_unix_s is not None

    def _look(self, audit: psycopg.Connection[Any], identity: psycopg.Connection[Any]) -> None:
        rows = audit.execute(
            'SELECT chain_sequence, request_id, extract(epoch FROM "timestamp")::float8 FROM audit_logs'
            " WHERE chain_sequence > %s AND tenant_id = ANY(%s::uuid[])",
            [self._sequence, self._tenants],
        ).fetchall()
        for sequence, request_id, decided_unix_s in rows:
            self._sequence = max(self._sequence, sequence)
            self.decided_unix_s[request_id] = decided_unix_s
        blocked = identity.execute(
            "SELECT tenant_id::text FROM tenants WHERE rpm_limit = 0 AND tenant_id = ANY(%s::uuid[])", [self._tenants]
        ).fetchall()
        now = time.time()
        self.blocked_unix_s = {tenant: self.blocked_unix_s.get(tenant, now) for (tenant,) in blocked}
        self._look_at_the_port()

    def _look_at_the_port(self) -> None:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            closed = probe.connect_ex((self._address[0], int(self._address[1]))) != 0
        self.gone_unix_s = (self.gone_unix_s or time.time()) if closed else None


def soak_request_ids(plan: Plan, requests_per_user: int) -> dict[str, tuple[int, int]]:
    """Every request id that the soak session can have sent, with its user and number; the stop's probes are not."""
    users = sum(tenant.soak_users for tenant in plan.tenants)
    return {
        request_id_of(plan.seed, SOAK_SESSION, user, sequence): (user, sequence)
        for user in range(users)
        for sequence in range(requests_per_user)
    }


def records_on_disk(folder: RunFolder) -> RequestTable:
    """The request records as a reader finds them after the event; the run folder itself is not touched."""
    with tempfile.TemporaryDirectory(prefix="soak-crash-records-") as copy:
        requests = Path(shutil.copytree(folder.requests_dir, Path(copy) / "requests"))
        with contextlib.suppress(EvidenceUnreadable):
            # A spool that the full disk left without its header holds no record.
            salvage(requests)
        return read_requests(requests)


def evidence_lost_s(records: RequestTable, plan: Plan, event_unix_s: float) -> float:
    """From the last record of the load worker whose records end first, to the event; 0 when all go beyond it."""
    soak = records.take(records.where(session=SOAK_SESSION))
    if not len(soak):
        return float("inf")
    end_unix_s = (plan.epoch_unix_us + soak.columns["start_us"] + soak.columns["service_us"]) / 1e6
    workers = soak.columns["worker"]
    last = [float(end_unix_s[workers == worker].max()) for worker in np.unique(workers)]
    if len(last) < plan.profile.load_workers:
        return float("inf")
    return max(0.0, event_unix_s - min(last))


def rows_without_record(
    decided_unix_s: Mapping[str, float], ids: Mapping[str, tuple[int, int]], records: RequestTable, until_unix_s: float
) -> int:
    """Executions that the platform decided until a moment, and of which no record is on disk."""
    soak = records.take(records.where(session=SOAK_SESSION))
    recorded = set(zip(soak.columns["user"].tolist(), soak.columns["sequence"].tolist(), strict=True))
    return sum(
        1
        for request_id, unix_s in decided_unix_s.items()
        if unix_s <= until_unix_s and request_id in ids and ids[request_id] not in recorded
    )


def judged_again(folder: RunFolder, environment: Mapping[str, str]) -> str:
    """What `soak judge` says of what is left."""
    done = subprocess.run(
        [sys.executable, "-m", "soak_pipeline.cli", "judge", str(folder.path)],
        env=dict(environment),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return {0: "PASS", 1: "FAIL", 2: "INCONCLUSIVE"}.get(done.returncode, f"exit code {done.returncode}")


def processes_of(directory: Path) -> Iterator[psutil.Process]:
    """Processes that were started for a directory: it stands in their environment or command line."""
    mark = os.fsencode(directory)
    for process in psutil.process_iter():
        folder = Path("/proc") / str(process.pid)
        try:
            words = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            if mark in words and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (OSError, psutil.NoSuchProcess):
            continue


def described(process: psutil.Process) -> str:
    """A process in a few words."""
    try:
        words = " ".join(process.cmdline()) or process.name()
    except psutil.NoSuchProcess:
        return f"process {process.pid}"
    return f"process {process.pid} ({words})"


def held_locks(state_dir: Path) -> list[str]:
    """Target locks that some process holds."""
    held = []
    for path in sorted((state_dir / "locks").glob("*.lock")):
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(f"lock {path.name}")
    return held


def valid_leases(folder: RunFolder) -> list[str]:
    """Leases of the run under which load could still be sent."""
    return [f"lease {path.name}" for path in ControlFiles.leases(folder.path) if LeaseFile(path).seconds_left() > 0]


def open_ports(ports: Mapping[str, int]) -> list[str]:
    """Ports of 127.0.0.1 on which somebody listens."""
    found = []
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(f"port {port} ({name})")
    return found
