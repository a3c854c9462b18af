"""Set arithmetic on more 16-byte keys than should be in memory.

Owns the partition of keys into buckets on disk by a mixture of their bytes: equal keys meet in the same bucket, so a
few buckets at a time can be counted. Never knows what the keys stand for.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from soak_pipeline.target.arrow_columns import UUID_CHARACTERS, UUID_DASHES, joined, lengths

KEY_BYTES = 16
BUCKETS = 256
#: Keys of one collection that wait in memory.
KEYS_PER_BLOCK = 65_536
#: Keys of all collections that are counted at a time, unless one bucket alone has more.
KEYS_AT_A_TIME = 262_144
_DASH = ord("-")
#: An odd number whose bits look random, 2 ** 64 divided by the golden ratio: UUIDs may begin with the time, all alike.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)

Keys = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeyCounts:
    """How often each key of some buckets is in each collection.

    Attributes:
        keys: every key once, shape (n, 16).
        counts: by collection, shape (n,).
    """

    keys: Keys
    counts: dict[str, Counts]


def key_of(text: str) -> bytes:
    """The key of a request id: the bytes of its UUID, or a digest of any other text."""
    digits = text.replace("-", "")
    if len(text) == UUID_CHARACTERS and len(digits) == 2 * KEY_BYTES:
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if len(key) == KEY_BYTES:
            return key
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def keys_of(texts: pa.BinaryArray) -> bytes | None:
    """The keys of UUIDs in their usual spelling, one after another; None when one of them is not such a text."""
    characters = joined(texts)
    if (lengths(texts) != UUID_CHARACTERS).any() or characters.count(b"-") != len(UUID_DASHES) * len(texts):
        return None
    table = np.frombuffer(characters, dtype=np.uint8).reshape(-1, UUID_CHARACTERS)
    if not (table[:, UUID_DASHES] == _DASH).all() or characters.translate(None, b"-0123456789abcdefABCDEF"):
        return None
    return bytes.fromhex(characters.replace(b"-", b"").decode())


def uuid_of(key: bytes) -> str:
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
        self._collections = {name: _Collection(Path(self._temporary.name) / name) for name in collections}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for collection in self._collections.values():
            collection.close()
        self._temporary.cleanup()

    def add(self, collection: str, keys: bytes) -> None:
        """Adds keys of 16 bytes each, one after another; a key may be added many times."""
        self._collections[collection].add(keys)

    def counts(self) -> Iterator[KeyCounts]:
        """Every key of every collection, counted, some buckets after others; a key is in one item only."""
        for collection in self._collections.values():
            collection.flush()
        sizes = sum(collection.sizes for collection in self._collections.values())
        for first, end in _spans(np.asarray(sizes).tolist()):
            yield _counted({name: collection.read(first, end) for name, collection in self._collections.items()})


class _Collection:
    """Keys in one file of blocks, each sorted by bucket, and where in its block each bucket begins."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("w+b")
        self._pending = bytearray()
        self._starts: list[npt.NDArray[np.int64]] = []
        #: Keys in each bucket, those that wait in memory left out.
        self.sizes: Counts = np.zeros(BUCKETS, dtype=np.int64)

    def add(self, keys: bytes) -> None:
        self._pending += keys
        if len(self._pending) >= KEYS_PER_BLOCK * KEY_BYTES:
            self.flush()

    def flush(self) -> None:
        keys = np.frombuffer(bytes(self._pending), dtype=np.uint8).reshape(-1, KEY_BYTES)
        self._pending.clear()
        buckets = (_mixed(keys) >> np.uint64(56)).astype(np.uint8)
        order = np.argsort(buckets, kind="stable")
        begin = self._starts[-1][-1] if self._starts else 0
        counts = np.bincount(buckets, minlength=BUCKETS)
        self._starts.append(begin + np.concatenate([[0], np.cumsum(counts)]))
        self.sizes += counts
        self._file.write(keys[order].tobytes())
        self._file.flush()

    def read(self, first: int, end: int) -> Keys:
        """The keys of the buckets from the first up to, and without, the end."""
        spans = ((int(starts[first]) * KEY_BYTES, int(starts[end]) * KEY_BYTES) for starts in self._starts)
        parts = (os.pread(self._file.fileno(), stop - begin, begin) for begin, stop in spans)
        return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, KEY_BYTES)

    def close(self) -> None:
        self._file.close()


def _spans(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring buckets, as (first, end), that have few enough keys together."""
    first, size = 0, 0
    for bucket, keys in enumerate(sizes):
        if size and size + keys > KEYS_AT_A_TIME:
            yield first, bucket
            first, size = bucket, 0
        size += keys
    yield first, len(sizes)


def _counted(collections: dict[str, Keys]) -> KeyCounts:
    keys = np.concatenate(list(collections.values()))
    owners = np.repeat(np.arange(len(collections)), [len(part) for part in collections.values()])
    order, is_first = _grouped(keys)
    groups = np.empty(len(keys), dtype=np.int64)
    groups[order] = np.cumsum(is_first) - 1
    return KeyCounts(
        keys=keys[order[is_first]],
        counts={
            name: np.bincount(groups[owners == owner], minlength=int(is_first.sum()))
            for owner, name in enumerate(collections)
        },
    )


def _grouped(keys: Keys) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """An order in which equal keys stand together, and where in it a key differs from the one before."""
    halves, mixed = keys.view(np.uint64), _mixed(keys)
    order = np.argsort(mixed)
    is_first = _is_first(halves[order])
    if (is_first[1:] & (mixed[order][1:] == mixed[order][:-1])).any():
        # Two keys with one mixture may stand among each other.
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        is_first = _is_first(halves[order])
    return order, is_first


def _mixed(keys: Keys) -> npt.NDArray[np.uint64]:
    """Eight bytes of each key's sixteen; nearly always others for another key."""
    halves = keys.view(np.uint64)
    return (halves[:, 0] ^ (halves[:, 1] * _SPREAD)) * _SPREAD


def _is_first(halves: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    is_first = np.ones(len(halves), dtype=np.bool_)
    is_first[1:] = (halves[1:] != halves[:-1]).any(axis=1)
    return is_first
