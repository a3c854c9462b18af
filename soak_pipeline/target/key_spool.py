"""Set arithmetic on more 16-byte keys than should be in memory.

Owns the partition of keys into buckets on disk by their first byte: equal keys meet in the same bucket, so each bucket
can be compared alone, in plain sets. Never knows what the keys stand for.
"""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

KEY_BYTES = 16
_BUCKETS = 64
_BUFFER_BYTES = 16 * 1024


def key_of(text: str) -> bytes:
    """The key of a request id: the bytes of its UUID, or a digest of any other text."""
    digits = text.replace("-", "")
    if len(text) == 36 and len(digits) == 2 * KEY_BYTES:
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if len(key) == KEY_BYTES:
            return key
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def text_of(key: bytes) -> str:
    """The UUID text of a key."""
    return str(uuid.UUID(bytes=key))


class KeySpool:
    """Several named collections of keys, in a temporary directory that is gone at the end.

    Args:
        collections: their names.
        directory: where the temporary directory is made; the system's default when None.
    """

    def __init__(self, *collections: str, directory: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="soak-keys-", dir=directory)
        self._directory = Path(self._temporary.name)
        self._buffers = {name: [bytearray() for _ in range(_BUCKETS)] for name in collections}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    def add(self, collection: str, key: bytes) -> None:
        """Adds a key of 16 bytes; a key may be added many times."""
        bucket = key[0] % _BUCKETS
        buffer = self._buffers[collection][bucket]
        buffer += key
        if len(buffer) >= _BUFFER_BYTES:
            with self._path(collection, bucket).open("ab") as file:
                file.write(buffer)
            buffer.clear()

    def buckets(self) -> Iterator[dict[str, list[bytes]]]:
        """Every key of every collection, one bucket after another; a key is always in the same bucket."""
        for bucket in range(_BUCKETS):
            yield {collection: self._keys(collection, bucket) for collection in self._buffers}

    def _keys(self, collection: str, bucket: int) -> list[bytes]:
        path = self._path(collection, bucket)
        data = (path.read_bytes() if path.exists() else b"") + self._buffers[collection][bucket]
        return [data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES)]

    def _path(self, collection: str, bucket: int) -> Path:
        return self._directory / f"{collection}-{bucket:02d}"
