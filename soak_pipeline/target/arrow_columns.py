"""Columns of bytes in Arrow's layout: made, looked up and joined without an object for each value.

Owns how a column's memory is read. Never knows what the values stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int64]
_OFFSET_BYTES = 4
_UUID_BYTES = 16
UUID_CHARACTERS = 36
UUID_DASHES = (8, 13, 18, 23)
_UUID_DIGITS = [place for place in range(UUID_CHARACTERS) if place not in UUID_DASHES]


def column_of(values: Iterable[bytes | None]) -> pa.BinaryArray:
    """A column of some values; None is null."""
    return pa.array(values, pa.binary())


def bytes_of(column: pa.Array) -> pa.BinaryArray:
    """A column of texts, JSON or UUIDs as the UTF-8 bytes of their text."""
    if isinstance(column.type, pa.UuidType):
        return _uuid_texts(column.storage)
    texts = column.storage if isinstance(column.type, pa.BaseExtensionType) else column
    return texts.cast(pa.binary())


def joined(column: pa.BinaryArray) -> bytes:
    """All values one after another."""
    offsets = _offsets(column)
    return bytes(memoryview(column.buffers()[2])[offsets[0] : offsets[-1]]) if offsets[-1] > offsets[0] else b""


def lengths(column: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """How many bytes each value has."""
    return np.diff(_offsets(column))


def slices(values: bytes, size: int) -> pa.BinaryArray:
    """A column of equally long pieces of some bytes.

    Args:
        values: a multiple of `size` bytes.
        size: of a piece, in bytes.
    """
    offsets = np.arange(0, len(values) + 1, size, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(values)], null_count=0
    )


def interleaved(*columns: pa.BinaryArray | bytes) -> pa.BinaryArray:
    """The values of each row in one piece, with bytes that all rows have; null where one of them is."""
    return pc.binary_join_element_wise(*columns, b"")


def digests_of(column: pa.BinaryArray) -> bytes:
    """The SHA-256 of each value, one after another."""
    return b"".join([sha256(value).digest() for value in column.to_pylist()])


def mapped(column: pa.BinaryArray, make: Callable[[bytes | None], bytes]) -> pa.BinaryArray:
    """What a function makes of each value; it is asked once for each different one."""
    encoded = column.dictionary_encode(null_encoding="encode")
    return column_of(map(make, encoded.dictionary.to_pylist())).take(encoded.indices)


def coded(columns: Sequence[pa.Array]) -> tuple[Codes, Codes]:
    """Which rows have the same values in all of some columns.

    Returns:
        For each row a number from 0 on, equal where all values are; and for each number the first row that has it.
    """
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        encoded = column.dictionary_encode(null_encoding="encode")
        pairs = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
        # Numbered anew each time, so that they stay below the number of rows.
        codes = pa.array(pairs).dictionary_encode().indices.to_numpy().astype(np.int64)
    firsts = np.empty(codes.max(initial=-1) + 1, dtype=np.int64)
    firsts[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes, firsts


def _uuid_texts(column: pa.FixedSizeBinaryArray) -> pa.BinaryArray:
    if column.null_count:
        return column_of(None if value is None else str(UUID(bytes=value)).encode() for value in column.to_pylist())
    first = column.offset * _UUID_BYTES
    values = memoryview(column.buffers()[1])[first : first + len(column) * _UUID_BYTES]
    digits = np.frombuffer(values.hex().encode(), dtype=np.uint8)
    texts = np.full((len(column), UUID_CHARACTERS), ord("-"), dtype=np.uint8)
    texts[:, _UUID_DIGITS] = digits.reshape(len(column), len(_UUID_DIGITS))
    return slices(texts.tobytes(), UUID_CHARACTERS)


def _offsets(column: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """Where each value begins, and the last one ends."""
    return np.frombuffer(
        column.buffers()[1], dtype=np.int32, count=len(column) + 1, offset=column.offset * _OFFSET_BYTES
    )
