"""Real PostgreSQL and Redis servers for tests: on free ports, in a temporary directory, gone afterwards."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.acp import schema
from infra.acp.embedded import postgres as embedded_postgres
from infra.acp.embedded import redis as embedded_redis
from infra.acp.settings import DATABASE_NAMES, Settings
from soak_pipeline_tests.waiting import PATIENCE_S

PASSWORD = secrets.token_hex(8)


@dataclass(frozen=True)
class Servers:
    """Where the two servers of a test listen."""

    redis_url: str
    postgres_dsn: str

    def dsn(self, database: str) -> str:
        return f"{self.postgres_dsn}/{database}"

    def settings(self, **changes: object) -> Settings:
        """Give the settings of a worker process, with times short enough for a test."""
        values: dict[str, object] = {
            "redis_url": self.redis_url,
            **{f"{short}_dsn": self.dsn(name) for short, name in DATABASE_NAMES.items()},
            "jwt_secret": "unused",
            "signing_key": "11" * 32,
            "outbox_grace_s": 0.0,
            "sealer_interval_s": 0.2,
            **changes,
        }
        return Settings(**values)  # type: ignore[arg-type]


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Start both servers, with the schema applied, and stop them at the end."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="acp-test-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.chmod(0o755)
        redis_url = stack.enter_context(redis_in(directory))
        postgres_dsn = stack.enter_context(_postgres(directory))
        servers = Servers(redis_url, postgres_dsn)
        schema.apply(servers.dsn)
        yield servers


@contextmanager
def running_redis(program: Path | None) -> Iterator[str]:
    """Start one server of the Redis protocol, the embedded one unless told which; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="acp-test-") as directory, redis_in(Path(directory), program) as url:
        yield url


@contextmanager
def redis_in(directory: Path, program: Path | None = None) -> Iterator[str]:
    """The same, with its data in a directory that stays."""
    server = embedded_redis.embedded(directory, free_port())
    if program is not None:
        server = replace(server, program=program)
    server.prepare()
    with _process(server.command(), server.data, stdin=server.configuration(PASSWORD)):
        url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
        embedded_redis.wait_until_ready(url, PATIENCE_S)
        yield url


@contextmanager
def _postgres(directory: Path) -> Iterator[str]:
    server = embedded_postgres.embedded(directory, free_port())
    server.prepare(PASSWORD)
    with _process(server.command(), directory, options=server.process_options()):
        dsn = f"postgresql://{embedded_postgres.SUPERUSER}:{PASSWORD}@127.0.0.1:{server.port}"
        embedded_postgres.wait_until_ready(f"{dsn}/postgres", PATIENCE_S)
        yield dsn
    server.wipe()


@contextmanager
def _process(arguments: list[str], directory: Path, stdin: bytes = b"", options: Any = None) -> Iterator[None]:
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/", **(options or {}))
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    try:
        yield
    finally:
        # PostgreSQL's fast shutdown; Redis stops as well.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
