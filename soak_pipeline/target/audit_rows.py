"""A tenant's audit rows as a stream of batches, in the order in which they were appended.

Owns the SQL that reads a row whole, the text format of `COPY`, and which values rows repeat. Columns stay as the bytes
that the server sent: most rows are verified without being taken apart. Never judges a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import methodcaller
from typing import Any, Generic, NamedTuple, TypeVar

import psycopg
from psycopg import sql

from soak_pipeline.target.databases import copied_lines

#: So few that a batch stays in the caches of a processor from its first to its last step.
ROWS_PER_BATCH = 256
#: How many different values a memo holds before it starts anew; rows with a text of their own must not fill the memory.
MOST_REMEMBERED = 10_000

_ROWS = """
    COPY (
        SELECT prev_hash, event_hash, request_id,
               "timestamp", id, agent_id, reason, coalesce(metadata_json, '{{}}'),
               action, tool, decision, hash_version, chain_shard
        FROM audit_logs WHERE tenant_id = {} ORDER BY chain_sequence
    ) TO STDOUT
"""
#: Into eight columns and the rest, which many rows have in common.
_SPLIT = methodcaller("split", b"\t", 8)
_TIMESTAMP_COLUMN = 3
_TIMESTAMP_CHARACTERS = len("2026-11-23T07:30:00.000000+00:00")
_TIMESTAMP = re.compile(rb"(.{19})\.?(\d{0,6})\+00:00")
_NULL = b"\\N"
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
#: Bytes that are themselves in a JSON text and in COPY's format: printable ASCII without the quote and the backslash.
_PLAIN = bytes(sorted(set(range(0x20, 0x7F)) - {ord('"'), ord("\\")}))

Value = TypeVar("Value")


class ChainRow(NamedTuple):
    """One audit row as text; None is null.

    Attributes:
        row_id, request_id, agent_id: UUID texts; a request id may be any text.
        prev_hash, event_hash: hex.
        timestamp: ISO 8601 in UTC with six digits of a second and `+00:00`, so that texts sort like times.
        action, tool, decision, reason: as stored.
        metadata: JSON text, in any spelling.
        hash_version: `2`; `1` or None for the older hash.
        shard: of the chain.
    """

    row_id: str
    request_id: str | None
    prev_hash: str
    event_hash: str
    timestamp: str
    action: str
    tool: str | None
    decision: str
    reason: str | None
    agent_id: str
    metadata: str | None
    hash_version: str | None
    shard: str | None


class Content(NamedTuple):
    """What many rows of a tenant have in common; None is null."""

    action: str
    tool: str | None
    decision: str
    hash_version: str | None
    shard: str | None

    @property
    def is_billable(self) -> bool:
        """Reconciliation's definition: an executed tool that was not rejected."""
        return self.action == "execute_tool" and self.decision != "reject"


@dataclass(frozen=True)
class RowBatch:
    """Rows that follow each other, by column, in COPY's text format.

    Attributes:
        contents: the last five columns of each row in one piece; `content_of` takes it apart.
    """

    prev_hashes: Sequence[bytes]
    event_hashes: Sequence[bytes]
    request_ids: Sequence[bytes]
    timestamps: Sequence[bytes]
    row_ids: Sequence[bytes]
    agent_ids: Sequence[bytes]
    reasons: Sequence[bytes]
    metadata: Sequence[bytes]
    contents: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.contents)

    @cached_property
    def distinct_contents(self) -> list[Content]:
        """What the rows say in common; a handful."""
        return list(map(content_of, set(self.contents)))

    @cached_property
    def unusual(self) -> frozenset[int]:
        """Positions of rows with an id that is null or needs quoting; there should be hardly any."""
        return frozenset(
            index
            for column in (self.request_ids, self.agent_ids)
            if b"".join(column).translate(None, _PLAIN)
            for index, value in enumerate(column)
            if value.translate(None, _PLAIN)
        )

    def row(self, index: int) -> ChainRow:
        """One row, taken apart."""
        content = content_of(self.contents[index])
        return ChainRow(
            row_id=value_of(self.row_ids[index]) or "",
            request_id=value_of(self.request_ids[index]),
            prev_hash=value_of(self.prev_hashes[index]) or "",
            event_hash=value_of(self.event_hashes[index]) or "",
            timestamp=value_of(self.timestamps[index]) or "",
            action=content.action,
            tool=content.tool,
            decision=content.decision,
            reason=value_of(self.reasons[index]),
            agent_id=value_of(self.agent_ids[index]) or "",
            metadata=value_of(self.metadata[index]),
            hash_version=content.hash_version,
            shard=content.shard,
        )


class Memo(dict[bytes, Value], Generic[Value]):
    """Values by the bytes that they are made from, each made once; bounded, and then begun anew.

    Args:
        make: the value of some bytes.
    """

    def __init__(self, make: Callable[[bytes], Value]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: bytes) -> Value:
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        value = self[key] = self._make(key)
        return value


def read_batches(connection: psycopg.Connection[tuple[Any, ...]], tenant_id: str) -> Iterator[RowBatch]:
    """A tenant's rows in chain order.

    Raises:
        psycopg.Error: the statement failed.
    """
    # Where an index has the order, a sort would only spill gigabytes to the server's disk before the first row.
    connection.execute("SET LOCAL enable_sort = off")
    connection.execute("SET LOCAL DateStyle = 'ISO'")
    yield from map(batch_of, copied_lines(connection, sql.SQL(_ROWS).format(tenant_id), ROWS_PER_BATCH))


def batch_of(lines: Iterable[bytes]) -> RowBatch:
    """Rows from their lines in COPY's text format; at least one line."""
    columns: list[Sequence[bytes]] = list(zip(*map(_SPLIT, lines), strict=True))
    columns[_TIMESTAMP_COLUMN] = _iso_8601(columns[_TIMESTAMP_COLUMN])
    return RowBatch(*columns)


def _iso_8601(timestamps: Sequence[bytes]) -> Sequence[bytes]:
    """PostgreSQL's spelling of times in UTC in that of `ChainRow`; the server would take twice as long for it."""
    text = b"\n".join((*timestamps, b"")).replace(b" ", b"T").replace(b"+00\n", b"+00:00\n")
    spelt = text.split(b"\n")[:-1]
    if set(map(len, spelt)) == {_TIMESTAMP_CHARACTERS}:
        return spelt
    return [_TIMESTAMP.sub(_with_six_digits, timestamp) for timestamp in spelt]


def _with_six_digits(time: re.Match[bytes]) -> bytes:
    """PostgreSQL leaves out the zeros at the end of a second's fraction."""
    return time[1] + b"." + time[2].ljust(6, b"0") + b"+00:00"


@lru_cache(maxsize=MOST_REMEMBERED)
def content_of(piece: bytes) -> Content:
    """What one of `RowBatch.contents` says."""
    action, tool, decision, hash_version, shard = map(value_of, piece.rstrip(b"\n").split(b"\t"))
    return Content(action or "", tool, decision or "", hash_version, shard)


def value_of(value: bytes) -> str | None:
    """What a value of COPY's text format says; None is null."""
    if value == _NULL:
        return None
    if b"\\" in value:
        value = re.sub(rb"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), value, flags=re.DOTALL)
    return value.decode(errors="replace")
