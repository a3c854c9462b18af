"""The state directory of an embedded stack: where it is, and what is written in it.

Owns `stack.json` (what runs where; no secrets), `secrets.json` (readable by the owner only), `faults.json` (the faults
that are set) and the locks. It starts and stops nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from infra.acp.faults import Values, checked
from infra.acp.settings import DATABASE_NAMES, Database

#: Every secret of a stack, and how one is drawn.
SECRETS: Mapping[str, Callable[[], str]] = {
    "postgres_password": lambda: secrets.token_urlsafe(24),
    "redis_password": lambda: secrets.token_urlsafe(24),
    "jwt_secret": lambda: secrets.token_urlsafe(48),
    "signing_key": lambda: secrets.token_hex(32),
    "admin_password": lambda: secrets.token_urlsafe(18),
    "admin_token": lambda: secrets.token_urlsafe(32),
}


class StateError(RuntimeError):
    """The state directory cannot be used."""


@dataclass(slots=True)
class ProcessRecord:
    """One process of the stack. `started_at` is unix seconds by the kernel; with the pid it names the process."""

    name: str
    pid: int
    started_at: float
    ports: list[int] = field(default_factory=list)
    restarts: int = 0


@dataclass(slots=True)
class StackRecord:
    """What `stack.json` holds. `phase` is starting, up, stopping or failed; `problem` says why it failed."""

    phase: str
    ports: dict[str, int]
    workers: int
    admin_email: str
    external_postgres: bool
    external_redis: bool
    processes: list[ProcessRecord] = field(default_factory=list)
    problem: str = ""


class StateDirectory:
    """One state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.metrics = path / "metrics"

    def create(self) -> None:
        """Make the directory, closed to others except for passing through: PostgreSQL may run as another account."""
        try:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self.metrics.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"state directory {self.path} cannot be made: {error}; set ACP_STATE_DIR to another place"
            ) from None

    def read_record(self) -> StackRecord | None:
        """What was last written of the stack, or none."""
        try:
            data = json.loads((self.path / "stack.json").read_text())
            return StackRecord(**{**data, "processes": [ProcessRecord(**item) for item in data["processes"]]})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_record(self, record: StackRecord) -> None:
        self._write("stack.json", asdict(record), 0o644)

    def remove_record(self) -> None:
        (self.path / "stack.json").unlink(missing_ok=True)

    def read_secrets(self) -> dict[str, str]:
        """The secrets of this stack; empty when it has none yet."""
        try:
            data = json.loads((self.path / "secrets.json").read_text())
            return {name: str(data[name]) for name in SECRETS if name in data}
        except (OSError, ValueError, TypeError):
            return {}

    def ensure_secrets(self, admin_password: str) -> dict[str, str]:
        """The secrets of this stack; those that it has not are drawn. A given admin password replaces the kept one."""
        kept = {name: draw() for name, draw in SECRETS.items()} | self.read_secrets()
        if admin_password:
            kept["admin_password"] = admin_password
        self._write("secrets.json", kept, 0o600)
        return kept

    def read_faults(self) -> dict[str, Values]:
        """The faults that are set in the stack, with their parameters; none when nothing is written of any."""
        try:
            data = json.loads((self.path / "faults.json").read_text())
            return {name: checked(name, values) for name, values in data.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def write_faults(self, faults: Mapping[str, Values]) -> None:
        self._write("faults.json", {name: dict(values) for name, values in faults.items()}, 0o644)

    @contextlib.contextmanager
    def locked(self, name: str, wait_s: float) -> Iterator[None]:
        """Hold one of the directory's locks; StateError when another holds it for longer than `wait_s` seconds."""
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + wait_s
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StateError(
                            f"{self.path / name} is held by another process for more than {wait_s:.0f} s"
                        ) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def is_locked(self, name: str) -> bool:
        """Whether some process holds a lock."""
        try:
            with self.locked(name, 0):
                return False
        except StateError:
            return True
        except FileNotFoundError:
            return False

    def _write(self, name: str, data: dict[str, Any], mode: int) -> None:
        """Replace a file in one step."""
        unfinished = self.path / f".{name}.{os.getpid()}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as file:
            json.dump(data, file, indent=1)
        os.replace(unfinished, self.path / name)


def default_path() -> Path:
    """$ACP_STATE_DIR, else the user's state directory."""
    if os.environ.get("ACP_STATE_DIR"):
        return Path(os.environ["ACP_STATE_DIR"]).expanduser().resolve()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return (Path(base).expanduser() / "soak-pipeline" / "acp").resolve()


def connection_environment(record: StackRecord, secret: dict[str, str], external: dict[str, str]) -> dict[str, str]:
    """The variables by which the stack's own processes and its users reach it.

    Args:
        external: `postgres` and `redis`, the DSN and URL of stores that are not embedded.
    """
    found = {
        "ACP_REDIS_URL": external.get("redis")
        or f"redis://:{secret['redis_password']}@127.0.0.1:{record.ports['redis']}/0"
    }
    base = external.get("postgres") or (
        f"postgresql://acp:{quote(secret['postgres_password'], safe='')}@127.0.0.1:{record.ports['postgres']}/postgres"
    )
    short: Database
    for short, name in DATABASE_NAMES.items():
        found[f"ACP_{short.upper()}_DSN"] = dsn_of(base, name)
    found["ACP_GATEWAY_URL"] = f"http://127.0.0.1:{record.ports['gateway']}"
    found["ACP_ADMIN_EMAIL"] = record.admin_email
    found["ACP_ADMIN_PASSWORD"] = secret["admin_password"]
    return found


def dsn_of(base: str, database: str) -> str:
    """A DSN in URL form for another database of the same server."""
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=f"/{database}"))
