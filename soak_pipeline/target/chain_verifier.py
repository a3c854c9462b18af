"""Verifies a tenant's audit chain from its rows, without the platform's help.

Owns what is a gap, a fork, tampering and wrong order. Pure: rows come in batches, in the order in which they were
appended, and memory does not grow with their number.

`ChainScheme.is_hash_right` defines the hash, row by row. A batch is hashed column by column from the same spelling,
four times as fast; that can confirm a row, and what it does not confirm, the definition decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from soak_pipeline.dialect.hashing import ChainRow, ChainScheme
from soak_pipeline.target.arrow_columns import column_of, digests_of, interleaved, mapped, slices
from soak_pipeline.target.audit_rows import RowBatch, text_of
from soak_pipeline.target.row_spelling import REASONS, RowSpelling

MOST_SUSPECTS = 10_000
MOST_SAMPLES = 20
_HEX_CHARACTERS = 64
_DECODE_ALL = msgspec.json.Decoder(list[Any]).decode
_ENCODE_ALL = msgspec.json.Encoder(order="sorted").encode_lines


class _Head:
    """The last row of one shard's chain."""

    __slots__ = ("event_hash", "timestamp")

    def __init__(self, genesis: str) -> None:
        self.event_hash = genesis.encode()
        self.timestamp = b""


class ChainVerifier:
    """Takes one tenant's rows, batch by batch.

    Args:
        tenant_id: UUID text.
        scheme: how rows are chained.

    Attributes:
        rows, tampered, gaps, out_of_order: counts so far, as in `IndependentChain`.
        suspects: previous hashes that a gap row names: those of a fork are among them.
        samples: the first few violations in words.
    """

    def __init__(self, tenant_id: str, scheme: ChainScheme) -> None:
        self.rows = 0
        self.tampered = 0
        self.gaps = 0
        self.out_of_order = 0
        self.suspects: set[str] = set()
        self.samples: list[str] = []
        self._tenant_id = tenant_id
        self._heads: dict[str | None, _Head] = {}
        self._scheme = scheme
        self._spelling = RowSpelling(self._hashed_text)

    def check(self, batch: RowBatch) -> None:
        """Checks the next rows against their content and against the row before each in its shard."""
        found = self._misplaced(batch)
        for index in self._unconfirmed(batch):
            row = batch.row(index)
            if not self._scheme.is_hash_right(row, self._tenant_id):
                self.tampered += 1
                found.append((index, 1, f"its content does not give its hash {row.event_hash[:12]}"))
        for index, _, what in sorted(found)[: MOST_SAMPLES - len(self.samples)]:
            request_id = batch.row(index).request_id
            self.samples.append(f"row {self.rows + index + 1} (request {request_id}): {what}")
        self.rows += len(batch)

    def _unconfirmed(self, batch: RowBatch) -> Iterable[int]:
        """Positions of the rows that the quick hash does not prove to be right."""
        if len({self._scheme.fields_of(content.hash_version) for content in batch.contents}) > 1:
            # A chain changes its version once, so this is the one batch of it.
            return range(len(batch))
        is_equal = pc.equal(_hexes(digests_of(self._texts(batch))), batch.event_hashes)
        return batch.unusual.union(np.flatnonzero(~is_equal.to_numpy(zero_copy_only=False)).tolist())

    def _texts(self, batch: RowBatch) -> pa.BinaryArray:
        """What is hashed of each row."""

        def values(column: str) -> pa.BinaryArray:
            if column == "metadata":
                return _quick_metadata_hashes(batch.metadata)
            if column == REASONS:
                return mapped(batch.reasons, lambda reason: self._scheme.spelt_reason(text_of(reason)))
            return getattr(batch, column).fill_null(b"")

        return interleaved(batch.prev_hashes, *self._spelling.parts(batch, values))

    def _hashed_text(self, row: ChainRow) -> bytes:
        """What is hashed of a row after the previous hash, its metadata standing for their own digest."""
        return self._scheme.hashed_text(row, self._tenant_id, row.metadata or "").encode()

    def _misplaced(self, batch: RowBatch) -> list[tuple[int, int, str]]:
        """Counts rows that do not follow the row before; (position, rank within the row, what is wrong) of each."""
        shards = {content.shard for content in batch.contents}
        if len(shards) == 1 and self._is_one_chain(batch, self._head(shards.pop())):
            return []
        found = []
        columns = (column.to_pylist() for column in (batch.prev_hashes, batch.event_hashes, batch.timestamps))
        for index, (prev_hash, event_hash, timestamp, code) in enumerate(zip(*columns, batch.codes, strict=True)):
            head = self._head(batch.contents[code].shard)
            if prev_hash != head.event_hash:
                self.gaps += 1
                if len(self.suspects) < MOST_SUSPECTS:
                    self.suspects.add(text_of(prev_hash) or "")
                found.append((index, 0, f"names {_short(prev_hash)} as the hash before it, the row before has "
                                        f"{_short(head.event_hash)}"))  # fmt: skip
            if timestamp < head.timestamp:
                self.out_of_order += 1
                found.append((index, 2, f"its timestamp {timestamp.decode()} is before {head.timestamp.decode()} of "
                                        "the row before"))  # fmt: skip
            head.event_hash, head.timestamp = event_hash, timestamp
        return found

    def _is_one_chain(self, batch: RowBatch, head: _Head) -> bool:
        """Whether all rows follow each other; then the head is moved."""
        prev_hashes, event_hashes, timestamps = batch.prev_hashes, batch.event_hashes, batch.timestamps
        follows = (
            prev_hashes[0].as_py() == head.event_hash
            and timestamps[0].as_py() >= head.timestamp
            and prev_hashes.slice(1).equals(event_hashes.slice(0, len(batch) - 1))
            and pc.all(pc.less_equal(timestamps.slice(0, len(batch) - 1), timestamps.slice(1))).as_py() is not False
        )
        if follows:
            head.event_hash, head.timestamp = event_hashes[-1].as_py(), timestamps[-1].as_py()
        return follows

    def _head(self, shard: str | None) -> _Head:
        head = self._heads.get(shard)
        if head is None:
            head = self._heads[shard] = _Head(self._scheme.genesis)
        return head


def forks_among(suspects: Iterable[str], namings: Iterable[str]) -> int:
    """How many of the suspected previous hashes more than one row names.

    Args:
        suspects: `ChainVerifier.suspects`.
        namings: the previous hash of every row of the tenant, or of at least those rows that name a suspect.
    """
    wanted = set(suspects)
    counts = Counter(prev_hash for prev_hash in namings if prev_hash in wanted)
    return sum(1 for count in counts.values() if count > 1)


def _quick_metadata_hashes(metadata: pa.BinaryArray) -> pa.BinaryArray:
    """SHA-256 (hex) of each, in a spelling that differs from Python's in some numbers; empty when not JSON."""
    encoded = metadata.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    try:
        lines = _ENCODE_ALL(_DECODE_ALL(b"[" + b",".join(distinct) + b"]")).split(b"\n")
    except (msgspec.MsgspecError, ValueError):
        lines = []
    if len(lines) != len(distinct) + 1:
        return column_of([b""] * len(metadata))
    return _hexes(digests_of(column_of(lines[:-1]))).take(encoded.indices)


def _hexes(digests: bytes) -> pa.BinaryArray:
    return slices(digests.hex().encode(), _HEX_CHARACTERS)


def _short(digest: bytes) -> str:
    return digest[:12].decode(errors="replace")
