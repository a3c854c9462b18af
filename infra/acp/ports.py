"""Ports of this machine: which are free, and which belong to a stack that has not bound them yet.

A port that is free when it is looked at may be taken before it is bound, and gateways share theirs (SO_REUSEPORT): two
stacks that choose the same one at the same moment would answer for each other. So a stack reserves its ports as long as
it lives, by locks that the system gives up with the process that holds them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


class PortTaken(Exception):
    """Another stack has reserved a port."""


def is_free(port: int) -> bool:
    """Whether a port of the loopback address can be bound, and no stack has reserved it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    with contextlib.suppress(PortTaken), reserved([port]):
        return True
    return False


@contextmanager
def reserved(ports: Iterable[int]) -> Iterator[None]:
    """Keeps ports from other stacks.

    Raises:
        PortTaken: one is another stack's.
    """
    with ExitStack() as held:
        for port in sorted(set(ports)):
            descriptor = _opened(port)
            held.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PortTaken(f"port {port} has just been chosen by another stack") from None
        yield


def _opened(port: int) -> int:
    """A file of the port's that every account can lock; it stays, since another one would be another lock."""
    folder = Path(tempfile.gettempdir()) / "acp-ports"
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)
    path = folder / str(port)
    while True:
        # Not both at once: a system may refuse to create a file that another account has in such a folder.
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o644)
