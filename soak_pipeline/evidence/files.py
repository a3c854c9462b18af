"""Opening, reading and replacing files that somebody else may have prepared: links, pipes, endless ones.

Owns the system calls. Never follows a symbolic link in the last part of a path, never waits on a pipe, and never reads
more than it was told to.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> io.BufferedReader:
    """Opens a plain file for reading.

    Raises:
        OSError: it is missing, a link, or no plain file.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return open(descriptor, "rb")


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """The content of a plain file.

    Raises:
        OSError: as `open_regular`, or it holds more than the limit.
    """
    with open_regular(path) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes", str(path))
    return data


def open_log(path: Path) -> BinaryIO:
    """Opens a plain file for appending, and makes it where it is missing.

    Raises:
        OSError: it is a link or no plain file, or cannot be made.
    """
    return open(_writable(path, os.O_APPEND), "ab")


def overwrite(path: Path, data: bytes) -> None:
    """Writes a plain file in place, without a sync; for files that are of no use after a crash.

    Raises:
        OSError: it is a link or no plain file, or the disk is full or gone.
    """
    with open(_writable(path, os.O_TRUNC), "wb") as file:
        file.write(data)


def _writable(path: Path, flag: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flag
    descriptor = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return descriptor


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part, also after a crash."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, syncs it, and renames it over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
