"""The audit writer: events become chained rows, and billable ones also outbox rows, in one transaction.

Owns `audit_logs`, the insertion into `pending_usage_events`, and the counters beside them.  Several consumers
work at once; a tenant's chain is extended by one of them at a time, under the tenant's Redis lock and, beneath
it, the database's advisory lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import uuid4

import redis
from prometheus_client import Counter, Histogram

from infra.acp import chain, faults
from infra.acp.events import AUDIT_DLQ, AUDIT_GROUP, AUDIT_STREAM, AuditEvent, decode_audit
from infra.acp.settings import Settings
from infra.acp.workers.meddling import delete_one_of, tamper_if_due
from infra.acp.workers.runtime import Database, redis_client, serve
from infra.acp.workers.stream import Stream, StreamCollector, StreamReader, StreamWorker

logger = logging.getLogger(__name__)

STREAM: Final = Stream(AUDIT_STREAM, AUDIT_GROUP, AUDIT_DLQ)
LINGER_S: Final = 0.2

ROWS = Counter("acp_audit_logs_written_total", "Audit rows committed")
DUPLICATES = Counter("acp_audit_duplicates_dropped_total", "Events whose request id has its row already")
LOCK_WAITS = Counter("acp_audit_chain_lock_waits_total", "Batches that found a chain lock taken")
LOCKS_LOST = Counter("acp_audit_chain_lock_lost_total", "Batches rolled back because a chain lock was lost")
LOCK_WAIT = Histogram(
    "acp_audit_chain_lock_wait_seconds",
    "Wait for the chain locks of a batch",
    buckets=(0.001, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WRITE_LATENCY = Histogram(
    "acp_audit_write_latency_seconds",
    "One batch from lock to commit",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_TAKE_ADVISORY_LOCKS = "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key"
_HEADS = """
    SELECT t.tenant_id::text, head.event_hash, head."timestamp"
    FROM unnest(%s::uuid[]) AS t (tenant_id)
    CROSS JOIN LATERAL (
        SELECT event_hash, "timestamp" FROM audit_logs
        WHERE audit_logs.tenant_id = t.tenant_id ORDER BY chain_sequence DESC LIMIT 1
    ) AS head
"""
_KNOWN_REQUESTS = """
    SELECT request_id FROM audit_logs
    WHERE request_id = ANY(%s::varchar[]) AND request_id IS NOT NULL
"""
_COPY_ROWS = """
    COPY audit_logs (id, org_id, tenant_id, agent_id, action, tool, decision, reason, metadata_json,
                     request_id, event_hash, prev_hash, "timestamp") FROM STDIN
"""
_COPY_OUTBOX = """
    COPY pending_usage_events (org_id, tenant_id, audit_id, agent_id, tool, units, cost, occurred_at) FROM STDIN
"""
_COUNT = """
    INSERT INTO audit_counters AS counters
    SELECT t.tenant_id, t.row_count, t.billable_count, head.chain_sequence, head.event_hash, head."timestamp"
    FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[]) AS t (tenant_id, row_count, billable_count)
    CROSS JOIN LATERAL (
        SELECT chain_sequence, event_hash, "timestamp" FROM audit_logs
        WHERE audit_logs.tenant_id = t.tenant_id ORDER BY chain_sequence DESC LIMIT 1
    ) AS head
    ON CONFLICT (tenant_id) DO UPDATE SET
        row_count = counters.row_count + excluded.row_count,
        billable_count = counters.billable_count + excluded.billable_count,
        last_sequence = excluded.last_sequence,
        last_event_hash = excluded.last_event_hash,
        last_timestamp = excluded.last_timestamp
"""
_COUNT_HOURLY = """
    INSERT INTO audit_hourly_counters AS counters
    SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::varchar[], %s::varchar[], %s::bigint[])
    ON CONFLICT (tenant_id, hour, action, decision) DO UPDATE SET row_count = counters.row_count + excluded.row_count
"""


class Head(NamedTuple):
    """The last row of a tenant's chain, as far as the next one depends on it."""

    event_hash: str
    timestamp: datetime | None


class ChainedEvent(NamedTuple):
    """An event with its place in the chain."""

    event: AuditEvent
    metadata_json: str
    timestamp: datetime
    prev_hash: str
    event_hash: str


def extend(head: Head, events: Iterable[AuditEvent]) -> list[ChainedEvent]:
    """Chain one tenant's events, in their order, onto its head."""
    chained: list[ChainedEvent] = []
    for event in events:
        timestamp = chain.next_timestamp(head.timestamp, event.occurred_at)
        metadata_json = chain.canonical_metadata(event.metadata)
        event_hash = chain.event_hash(
            prev_hash=head.event_hash,
            tenant_id=event.tenant_id,
            agent_id=event.agent_id,
            action=event.action,
            tool=event.tool,
            decision=event.decision,
            reason=event.reason,
            request_id=event.request_id,
            timestamp=timestamp,
            metadata_json=metadata_json,
        )
        chained.append(ChainedEvent(event, metadata_json, timestamp, head.event_hash, event_hash))
        head = Head(event_hash, timestamp)
    return chained


class AuditWriter:
    """Writes batches of events; one per consumer, each with connections of its own."""

    def __init__(self, client: redis.Redis, database: Database) -> None:
        self._client = client
        self._database = database

    def write(self, events: list[AuditEvent]) -> None:
        """Commit the rows of a batch, of all its tenants, or none of them.

        Raises:
            chain.ChainLockLost, chain.ChainLockTimeout, redis.RedisError, psycopg.Error: nothing was committed.
        """
        tenant_ids = sorted({event.tenant_id for event in events})
        lock = chain.ChainLock(self._client, tenant_ids)
        lock.acquire()
        LOCK_WAIT.observe(lock.waited_s)
        if lock.waited_s:
            LOCK_WAITS.inc()
        try:
            with WRITE_LATENCY.time():
                written = self._write_under(lock, tenant_ids, events)
        except chain.ChainLockLost:
            LOCKS_LOST.inc()
            raise
        finally:
            # A lock that cannot be given back now expires by itself.
            with suppress(redis.RedisError):
                lock.release()
        ROWS.inc(written)
        DUPLICATES.inc(len(events) - written)

    def _write_under(self, lock: chain.ChainLock, tenant_ids: list[str], events: list[AuditEvent]) -> int:
        connection = self._database.connection()
        with connection.transaction():
            heads, known = self._read_state(connection, tenant_ids, events, is_locked=not lock.is_skipped)
            if lock.is_skipped:
                _pause_before_writing()
            by_tenant = _new_by_tenant(events, known)
            rows = [row for tenant_id in by_tenant for row in extend(heads[tenant_id], by_tenant[tenant_id])]
            if rows:
                self._insert(connection, rows)
            lock.confirm()
        return len(rows)

    @staticmethod
    def _read_state(
        connection: Any, tenant_ids: list[str], events: list[AuditEvent], *, is_locked: bool
    ) -> tuple[dict[str, Head], set[str]]:
        # Three statements in one round trip; each sees what was committed before the locks were had.
        with connection.pipeline():
            if is_locked:
                connection.execute(_TAKE_ADVISORY_LOCKS, [sorted(map(chain.advisory_key, tenant_ids))])
            head_rows = connection.execute(_HEADS, [tenant_ids])
            known_rows = connection.execute(_KNOWN_REQUESTS, [[event.request_id for event in events]])
            known = {row[0] for row in known_rows}
            heads = {row[0]: Head(row[1], row[2]) for row in head_rows}
        return {tenant_id: heads.get(tenant_id, Head(chain.GENESIS, None)) for tenant_id in tenant_ids}, known

    @staticmethod
    def _insert(connection: Any, rows: list[ChainedEvent]) -> None:
        billable = [row for row in rows if row.event.is_billable]
        with connection.cursor() as cursor:
            with cursor.copy(_COPY_ROWS) as copy:
                for row in rows:
                    event = row.event
                    copy.write_row(
                        (
                            str(uuid4()),
                            event.org_id or event.tenant_id,
                            event.tenant_id,
                            event.agent_id,
                            event.action,
                            event.tool,
                            event.decision,
                            event.reason,
                            row.metadata_json,
                            event.request_id,
                            row.event_hash,
                            row.prev_hash,
                            chain.canonical_timestamp(row.timestamp),
                        )
                    )
            if billable:
                with cursor.copy(_COPY_OUTBOX) as copy:
                    for row in billable:
                        event = row.event
                        copy.write_row(
                            (
                                event.org_id or event.tenant_id,
                                event.tenant_id,
                                event.request_id,
                                event.agent_id,
                                event.tool,
                                event.units,
                                event.cost,
                                chain.canonical_timestamp(row.timestamp),
                            )
                        )
        delete_one_of(connection, [row.event for row in rows])
        totals = Tally(row.event.tenant_id for row in rows)
        billable_totals = Tally(row.event.tenant_id for row in billable)
        # In one order for all writers, so that they wait for each other's counters instead of blocking one another.
        tenants = sorted(totals)
        hourly = Tally(
            (
                row.event.tenant_id,
                row.timestamp.replace(minute=0, second=0, microsecond=0),
                row.event.action,
                row.event.decision,
            )
            for row in rows
        )
        hours = sorted(hourly)
        with connection.pipeline():
            connection.execute(_COUNT, [tenants, [totals[t] for t in tenants], [billable_totals[t] for t in tenants]])
            connection.execute(_COUNT_HOURLY, [*map(list, zip(*hours, strict=True)), [hourly[key] for key in hours]])


def _new_by_tenant(events: list[AuditEvent], known: set[str]) -> dict[str, list[AuditEvent]]:
    seen = set(known)
    by_tenant: dict[str, list[AuditEvent]] = {}
    for event in events:
        if event.request_id not in seen:
            seen.add(event.request_id)
            by_tenant.setdefault(event.tenant_id, []).append(event)
    return by_tenant


def _pause_before_writing() -> None:
    fault = faults.active("chain_lock_skipped")
    time.sleep(fault["pause_ms"] / 1000 if fault else 0.0)


def consumer_task(settings: Settings, number: int) -> Callable[[threading.Event], None]:
    """Give the work of one consumer of the audit stream."""

    def task(stop: threading.Event) -> None:
        client = redis_client(settings)
        database = Database(settings.dsn("audit"), f"acp-audit-{number}")
        reader = StreamReader(client, STREAM, f"audit-{number}", settings.audit_batch, LINGER_S)
        worker = StreamWorker(reader, STREAM, decode_audit, AuditWriter(client, database).write)
        worker.run(stop, between=lambda: tamper_if_due(database))
        database.close()

    return task


def main(settings: Settings) -> int:
    """Run the audit consumers until SIGTERM."""
    tasks = [consumer_task(settings, number) for number in range(settings.audit_consumers)]
    collector = StreamCollector(redis_client(settings), STREAM, "acp_audit_stream_length")
    return serve("audit", settings, tasks, [collector])
