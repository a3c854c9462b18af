"""A tenant's audit rows as a stream of batches, in the order in which they were appended.

Owns which values rows repeat. Columns stay as the server sent them: most rows are
verified without being taken apart. Never judges a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from soak_pipeline.dialect.audit_store import AuditRows
from soak_pipeline.dialect.hashing import ChainRow
from soak_pipeline.target.arrow_columns import Codes, bytes_of, coded, column_of, joined
from soak_pipeline.target.row_streams import record_batches

#: Some four thousand rows: the more, the less a call for a column weighs; the fewer, the more stays in the caches.
BATCH_BYTES = 2 * 2**20

#: How many columns at the end many rows have in common.
_COMMON_COLUMNS = 5
_COLUMNS = (
    "prev_hashes", "event_hashes", "request_ids", "timestamps", "row_ids", "agent_ids", "reasons", "metadata",
)  # fmt: skip
_DATE_CHARACTERS = len("2026-11-23")
#: Bytes that are themselves in a JSON text: printable ASCII without the quote and the backslash.
_PLAIN = bytes(sorted(set(range(0x20, 0x7F)) - {ord('"'), ord("\\")}))


class Content(NamedTuple):
    """What many rows of a tenant have in common; None is null."""

    action: str
    tool: str | None
    decision: str
    hash_version: str | None
    shard: str | None


@dataclass(frozen=True)
class RowBatch:
    """Rows that follow each other, by column; a hash or time that is null is empty.

    Attributes:
        contents: what the rows have in common, each once; a handful.
        codes: for each row its place in `contents`.
    """

    prev_hashes: pa.BinaryArray
    event_hashes: pa.BinaryArray
    request_ids: pa.BinaryArray
    timestamps: pa.BinaryArray
    row_ids: pa.BinaryArray
    agent_ids: pa.BinaryArray
    reasons: pa.BinaryArray
    metadata: pa.BinaryArray
    contents: Sequence[Content]
    codes: Codes

    def __len__(self) -> int:
        return len(self.codes)

    def slice(self, begin: int, end: int) -> RowBatch:
        """The rows from the one up to, and without, the other."""
        columns = {name: getattr(self, name).slice(begin, end - begin) for name in _COLUMNS}
        return replace(self, **columns, codes=self.codes[begin:end])

    def pieces(self, spelling: Callable[[Content], Sequence[bytes]]) -> list[pa.BinaryArray]:
        """Columns of the pieces, always as many, into which a function cuts what is said of a content."""
        rows = pa.array(self.codes)
        return [column_of(piece).take(rows) for piece in zip(*map(spelling, self.contents), strict=True)]

    @cached_property
    def unusual(self) -> frozenset[int]:
        """Positions of rows with an id that is null or needs quoting; there should be hardly any."""
        return frozenset(
            index
            for column in (self.request_ids, self.agent_ids)
            if column.null_count or joined(column).translate(None, _PLAIN)
            for index, value in enumerate(column.to_pylist())
            if value is None or value.translate(None, _PLAIN)
        )

    def row(self, index: int) -> ChainRow:
        """One row, taken apart."""
        content = self.contents[self.codes[index]]
        prev_hash, event_hash, request_id, timestamp, row_id, agent_id, reason, metadata = (
            text_of(getattr(self, name)[index].as_py()) for name in _COLUMNS
        )
        return ChainRow(
            row_id=row_id or "",
            request_id=request_id,
            prev_hash=prev_hash or "",
            event_hash=event_hash or "",
            timestamp=timestamp or "",
            action=content.action,
            tool=content.tool,
            decision=content.decision,
            reason=reason,
            agent_id=agent_id or "",
            metadata=metadata,
            hash_version=content.hash_version,
            shard=content.shard,
        )


def read_batches(
    connection: psycopg.Connection[tuple[Any, ...]], tenant_id: str, table: AuditRows
) -> Iterator[RowBatch]:
    """A tenant's rows in chain order.

    Raises:
        psycopg.Error: the statement failed.
    """
    yield from map(batch_of, record_batches(connection, sql.SQL(table.select_rows).format(tenant_id), BATCH_BYTES))


def batch_of(batch: pa.RecordBatch) -> RowBatch:
    """Rows from the columns that the server sent; at least one row."""
    *columns, timestamps = (batch.column(index) for index in (0, 1, 2, 4, 5, 6, 7, 3))
    prev_hashes, event_hashes, request_ids, row_ids, agent_ids, reasons, metadata = map(bytes_of, columns)
    common = batch.columns[-_COMMON_COLUMNS:]
    codes, firsts = coded(common)
    return RowBatch(
        prev_hashes.fill_null(b""),
        event_hashes.fill_null(b""),
        request_ids,
        _iso_8601(timestamps).fill_null(b""),
        row_ids,
        agent_ids,
        reasons,
        metadata,
        [_content(*values) for values in zip(*(column.take(firsts).to_pylist() for column in common), strict=True)],
        codes,
    )


def text_of(value: bytes | None) -> str | None:
    """A value as text; None is null."""
    return None if value is None else value.decode(errors="replace")


def _content(
    action: str | None, tool: str | None, decision: str | None, hash_version: int | None, shard: int | None
) -> Content:
    return Content(
        action or "",
        tool,
        decision or "",
        None if hash_version is None else str(hash_version),
        None if shard is None else str(shard),
    )


def _iso_8601(timestamps: pa.Array) -> pa.BinaryArray:
    """Times in UTC in the spelling of `ChainRow`."""
    # Without its zone Arrow spells a time with a space, six digits and nothing behind them.
    spelt = bytes_of(timestamps.cast(pa.timestamp("us")).cast(pa.string()))
    with_t = pc.binary_replace_slice(spelt, _DATE_CHARACTERS, _DATE_CHARACTERS + 1, b"T")
    return pc.binary_join_element_wise(with_t, b"+00:00", b"")
