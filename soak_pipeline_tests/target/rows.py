"""Audit chains made by hand, by the words of the contract, and ways to put them into a database."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa

from soak_pipeline.dialect.hashing import ChainRow
from soak_pipeline.target.audit_rows import RowBatch, batch_of

START = datetime(2026, 11, 23, 7, 30, 0, 1, UTC)
AGENT = "a5e8d6a0-5bd1-4c0c-8f2e-6a51d1f2b3c4"


@dataclass(frozen=True)
class Call:
    """What one audit row says, before it is chained."""

    request_id: str | None
    action: str = "execute_tool"
    tool: str | None = "read_file"
    decision: str = "allow"
    reason: str | None = "policy"
    metadata: Mapping[str, object] = field(
        default_factory=lambda: {"status": 200, "latency_ms": 25.5, "Ärger": [1e-05]}
    )
    timestamp: datetime = START
    version: int | None = 2
    agent_id: str = AGENT


def calls(count: int, *, start: datetime = START, step: timedelta = timedelta(milliseconds=7)) -> list[Call]:
    """Calls at a steady pace, with request ids that depend on their number alone."""
    return [
        Call(request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{start} {n}")), timestamp=start + n * step)
        for n in range(count)
    ]


def event_hash(prev_hash: str, tenant_id: str, call: Call) -> str:
    """The hash of contract section 4.4, spelt out with `json` alone."""
    fields = {
        "action": call.action,
        "agent_id": call.agent_id,
        "decision": call.decision,
        "request_id": call.request_id or "",
        "tenant_id": tenant_id,
        "tool": call.tool or "",
    }
    if call.version == 2:
        metadata = json.dumps(call.metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        fields |= {
            "reason": call.reason or "",
            "timestamp": _text(call.timestamp),
            "metadata_sha256": hashlib.sha256(metadata.encode()).hexdigest(),
        }
    return hashlib.sha256((prev_hash + json.dumps(fields, sort_keys=True)).encode()).hexdigest()


def chain(tenant_id: str, of: Iterable[Call], prev_hash: str = "0" * 64, shard: int = 0) -> list[ChainRow]:
    """A valid chain of some calls."""
    return list(chain_of(tenant_id, of, prev_hash, shard))


def chain_of(tenant_id: str, of: Iterable[Call], prev_hash: str = "0" * 64, shard: int = 0) -> Iterator[ChainRow]:
    """A valid chain of any number of calls, row by row."""
    for call in of:
        own = event_hash(prev_hash, tenant_id, call)
        yield ChainRow(
            row_id=str(uuid.uuid5(uuid.NAMESPACE_OID, own)),
            request_id=call.request_id,
            prev_hash=prev_hash,
            event_hash=own,
            timestamp=_text(call.timestamp),
            action=call.action,
            tool=call.tool,
            decision=call.decision,
            reason=call.reason,
            agent_id=call.agent_id,
            metadata=json.dumps(call.metadata, ensure_ascii=False),
            hash_version=None if call.version is None else str(call.version),
            shard=str(shard),
        )
        prev_hash = own


def copy_line(row: ChainRow) -> bytes:
    """A row as `COPY ... FROM STDIN` takes it, by the words of PostgreSQL's manual."""
    ordered = (
        row.prev_hash, row.event_hash, row.request_id, row.timestamp, row.row_id, row.agent_id, row.reason,
        row.metadata or "{}", row.action, row.tool, row.decision, row.hash_version, row.shard,
    )  # fmt: skip
    escapes = {ord(character): f"\\{letter}" for character, letter in zip("\\\b\f\n\r\t\v", "\\bfnrtv", strict=True)}
    return ("\t".join("\\N" if value is None else value.translate(escapes) for value in ordered) + "\n").encode()


def batches(of: Iterable[ChainRow], size: int = 1024) -> list[RowBatch]:
    """Rows as they are read."""
    whole = list(of)
    return [batch_of(_record_batch(whole[begin : begin + size])) for begin in range(0, len(whole), size)]


def _record_batch(of: list[ChainRow]) -> pa.RecordBatch:
    """Columns as the server sends them."""
    texts = (
        [row.prev_hash for row in of], [row.event_hash for row in of], [row.request_id for row in of],
        [row.row_id for row in of], [row.agent_id for row in of], [row.reason for row in of],
        [row.metadata or "{}" for row in of], [row.action for row in of], [row.tool for row in of],
        [row.decision for row in of],
    )  # fmt: skip
    columns = [pa.array(column, pa.string()) for column in texts]
    moments = [datetime.fromisoformat(row.timestamp) for row in of]
    columns.insert(3, pa.array(moments, pa.timestamp("us", "UTC")))
    columns += [
        pa.array([None if number is None else int(number) for number in numbers], pa.int16())
        for numbers in ([row.hash_version for row in of], [row.shard for row in of])
    ]
    return pa.RecordBatch.from_arrays(columns, [str(index) for index in range(len(columns))])


def insert_audit(dsn: str, tenant_id: str, rows: Iterable[ChainRow]) -> None:
    """Appends rows to `audit_logs` in their order."""
    with psycopg.connect(dsn) as connection:
        insert_audit_with(connection, tenant_id, rows)


def insert_audit_with(connection: psycopg.Connection[Any], tenant_id: str, rows: Iterable[ChainRow]) -> None:
    """Appends rows in a transaction that goes on."""
    connection.cursor().executemany(
        "INSERT INTO audit_logs (id, org_id, tenant_id, request_id, prev_hash, event_hash, timestamp, action, tool,"
        " decision, reason, agent_id, metadata_json, hash_version, chain_shard)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [(row.row_id, tenant_id, tenant_id, *row[1:10], row.metadata, row.hash_version, row.shard) for row in rows],
    )


def insert_usage(dsn: str, tenant_id: str, request_ids: Iterable[str | None]) -> None:
    """Bills some requests."""
    with psycopg.connect(dsn) as connection:
        connection.cursor().executemany(
            "INSERT INTO usage_records (id, tenant_id, tool, audit_id, units, cost, timestamp)"
            " VALUES (gen_random_uuid(), %s, 'read_file', %s, 1, 0.001, now())",
            [(tenant_id, request_id) for request_id in request_ids],
        )


def without(call: Call, **changes: object) -> Call:
    """A call with other words."""
    return replace(call, **changes)  # type: ignore[arg-type]


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
