"""The usage worker: outbox rows become usage records, once each.

Owns `usage_records` and `usage_counters`, and the outbox rows from their insertion on.  A row leaves the outbox
only after its record is committed; a crash between the two commits bills it again, which the unique `audit_id`
turns into nothing.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
import redis
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg.rows import class_row

from infra.acp import faults
from infra.acp.events import BILLING_DLQ, DLQ_MAX_LENGTH
from infra.acp.settings import Settings
from infra.acp.workers.runtime import Database, redis_client, repeat, serve

logger = logging.getLogger(__name__)

BATCH: Final = 1_000
POLL_INTERVAL_S: Final = 1.0
BUSY_POLL_INTERVAL_S: Final = 0.05
RETRY_DELAY_S: Final = 2.0

PROCESSED = Counter("acp_outbox_processed_total", "Outbox rows that have their usage record")
RETRIED = Counter("acp_outbox_retry_total", "Outbox rows that failed and are tried again")
POISONED = Counter("acp_outbox_poison_total", "Outbox rows given up after the last retry")
RECORDS = Counter("acp_usage_records_written_total", "Usage records committed")
DRAIN_LATENCY = Histogram(
    "acp_usage_drain_latency_seconds",
    "Age of an outbox row when its usage record is committed, the grace included",
    buckets=(1, 2, 5, 10, 20, 30, 31, 32, 33, 35, 40, 50, 60, 90, 120, 180, 300, 600),
)

_TAKE_DUE = """
    DELETE FROM pending_usage_events WHERE audit_id IN (
        SELECT audit_id FROM pending_usage_events
        WHERE status = 'pending' AND created_at <= now() - make_interval(secs => %s) AND next_attempt_at <= now()
        ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    RETURNING audit_id, tenant_id, agent_id, tool, units, cost, retry_count, occurred_at,
              extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_s
"""
_DUE = """
    SELECT audit_id, tenant_id, agent_id, tool, units, cost, retry_count, occurred_at, 0.0::float8 AS age_s
    FROM pending_usage_events
    WHERE status = 'pending' AND created_at <= now() - make_interval(secs => %s)
    ORDER BY created_at LIMIT %s
"""
_TAKE_ONE = """
    DELETE FROM pending_usage_events WHERE audit_id = %s AND status = 'pending'
    RETURNING audit_id, tenant_id, agent_id, tool, units, cost, retry_count, occurred_at,
              extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_s
"""
_RECORD = """
    WITH written AS (
        INSERT INTO usage_records (id, audit_id, tenant_id, agent_id, tool, units, cost, "timestamp")
        SELECT gen_random_uuid(), * FROM unnest(
            %s::uuid[], %s::uuid[], %s::uuid[], %s::varchar[], %s::int[], %s::float8[], %s::timestamptz[])
        ON CONFLICT (audit_id) DO NOTHING
        RETURNING tenant_id, units, cost
    ), counted AS (
        INSERT INTO usage_counters AS counters
        SELECT tenant_id, count(*), sum(units), sum(cost) FROM written GROUP BY tenant_id ORDER BY tenant_id
        ON CONFLICT (tenant_id) DO UPDATE SET
            record_count = counters.record_count + excluded.record_count,
            total_units = counters.total_units + excluded.total_units,
            total_cost = counters.total_cost + excluded.total_cost
    )
    SELECT count(*) FROM written
"""
# A unique index of PostgreSQL holds within one table; a table that inherits from it is read with it.
_SECOND_PARTITION = "CREATE TABLE IF NOT EXISTS usage_records_late (UNIQUE (audit_id)) INHERITS (usage_records)"
_RECORD_AGAIN = """
    WITH written AS (
        INSERT INTO usage_records_late (id, audit_id, tenant_id, agent_id, tool, units, cost, "timestamp")
        SELECT gen_random_uuid(), audit_id, tenant_id, agent_id, tool, units, cost, "timestamp"
        FROM ONLY usage_records WHERE audit_id = ANY (%s)
        ON CONFLICT (audit_id) DO NOTHING
        RETURNING tenant_id, units, cost
    )
    UPDATE usage_counters AS counters SET
        record_count = counters.record_count + more.record_count,
        total_units = counters.total_units + more.total_units,
        total_cost = counters.total_cost + more.total_cost
    FROM (
        SELECT tenant_id, count(*) AS record_count, sum(units) AS total_units, sum(cost) AS total_cost
        FROM written GROUP BY tenant_id
    ) AS more
    WHERE counters.tenant_id = more.tenant_id
"""
_PUT_OFF = """
    UPDATE pending_usage_events SET
        retry_count = %s, status = %s, error_message = %s, updated_at = now(),
        next_attempt_at = now() + make_interval(secs => %s)
    WHERE audit_id = %s
"""
_BACKLOG = """
    SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'failed'),
           coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE status = 'pending')), 0)
    FROM pending_usage_events
"""


class OutboxRow(NamedTuple):
    """One billable call that waits for its usage record."""

    audit_id: UUID
    tenant_id: UUID
    agent_id: UUID | None
    tool: str | None
    units: int
    cost: float
    retry_count: int
    occurred_at: datetime
    age_s: float


def slowness_s(drained: int) -> float:
    """Seconds that so many rows take longer than they should."""
    fault = faults.active("usage_worker_slow")
    return drained * fault["delay_ms"] / 1000 if fault else 0.0


def batch_size() -> int:
    """Most rows of one batch: a slow worker takes what it can do in a second, so that the backlog falls steadily."""
    one_row_s = slowness_s(1)
    return max(1, round(1 / one_row_s)) if one_row_s else BATCH


def _without_dropped(rows: list[OutboxRow]) -> list[OutboxRow]:
    fault = faults.active("usage_dropped")
    if fault is None:
        return rows
    return [row for row in rows if not fault.picks(str(row.audit_id), str(row.tenant_id))]


class UsageWorker:
    """Drains the outbox in batches."""

    def __init__(self, client: redis.Redis, audit: Database, usage: Database, grace_s: float, max_retries: int) -> None:
        self._client = client
        self._audit = audit
        self._usage = usage
        self._grace_s = grace_s
        self._max_retries = max_retries

    def run(self, stop: threading.Event) -> None:
        """Drain until stopped: without pause while batches are full, else once per poll interval."""

        def step() -> None:
            drained = self.drain()
            stop.wait(slowness_s(drained) or (BUSY_POLL_INTERVAL_S if drained == BATCH else POLL_INTERVAL_S))

        repeat("usage", step, stop)

    def drain(self) -> int:
        """Bill one batch of rows past their grace; returns how many it was."""
        if faults.active("outbox_stalled"):
            return 0
        self._refuse_some()
        rows: list[OutboxRow] = []
        try:
            with self._audit.connection().transaction():
                rows = self._take(_TAKE_DUE, [self._grace_s, batch_size()])
                if rows:
                    self._record(rows)
        except (psycopg.DataError, psycopg.IntegrityError):
            # One row spoils the batch; the transaction has put all of them back.
            for row in rows:
                self._drain_alone(row.audit_id)
        except psycopg.OperationalError:
            RETRIED.inc(len(rows))
            raise
        else:
            self._observe(rows)
        return len(rows)

    def _refuse_some(self) -> None:
        fault = faults.active("dead_letter")
        if fault is None:
            return
        for row in self._take(_DUE, [self._grace_s, BATCH]):
            if fault.picks(str(row.audit_id), str(row.tenant_id)):
                self._put_off(row._replace(retry_count=self._max_retries - 1), "billing knows no such agent")

    def _drain_alone(self, audit_id: UUID) -> None:
        rows: list[OutboxRow] = []
        try:
            with self._audit.connection().transaction():
                rows = self._take(_TAKE_ONE, [audit_id])
                if rows:
                    self._record(rows)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            self._put_off(rows[0], str(error))
        else:
            self._observe(rows)

    def _take(self, statement: str, arguments: list[Any]) -> list[OutboxRow]:
        with self._audit.connection().cursor(row_factory=class_row(OutboxRow)) as cursor:
            return cursor.execute(statement, arguments).fetchall()

    def _record(self, rows: list[OutboxRow]) -> None:
        rows = _without_dropped(rows)
        columns = [
            [row.audit_id for row in rows],
            [row.tenant_id for row in rows],
            [row.agent_id for row in rows],
            [row.tool or "unknown" for row in rows],
            [row.units for row in rows],
            [row.cost for row in rows],
            [row.occurred_at for row in rows],
        ]
        answer = self._usage.connection().execute(_RECORD, columns).fetchone()
        RECORDS.inc(answer[0] if answer else 0)
        self._record_again(rows)

    def _record_again(self, rows: list[OutboxRow]) -> None:
        fault = faults.active("usage_billed_twice")
        picked = [row.audit_id for row in rows if fault and fault.picks(str(row.audit_id), str(row.tenant_id))]
        if picked:
            self._usage.connection().execute(_SECOND_PARTITION)
            self._usage.connection().execute(_RECORD_AGAIN, [picked])

    def _put_off(self, row: OutboxRow, error: str) -> None:
        attempts = row.retry_count + 1
        is_last = attempts >= self._max_retries
        if is_last:
            letter = {
                "audit_id": str(row.audit_id),
                "tenant_id": str(row.tenant_id),
                "retry_count": attempts,
                "error": error[:1000],
            }
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.lpush(BILLING_DLQ, json.dumps(letter))
                pipeline.ltrim(BILLING_DLQ, 0, DLQ_MAX_LENGTH - 1)
                pipeline.execute()
            POISONED.inc()
            logger.error("usage of request %s is a dead letter after %d tries: %s", row.audit_id, attempts, error)
        else:
            RETRIED.inc()
        self._audit.connection().execute(
            _PUT_OFF,
            [attempts, "failed" if is_last else "pending", error[:1000], RETRY_DELAY_S * attempts, row.audit_id],
        )

    @staticmethod
    def _observe(rows: list[OutboxRow]) -> None:
        PROCESSED.inc(len(rows))
        for row in rows:
            DRAIN_LATENCY.observe(row.age_s)


class OutboxCollector(Collector):
    """The state of the outbox, read when `/metrics` is asked for."""

    def __init__(self, client: redis.Redis, audit: Database) -> None:
        self._client = client
        self._audit = audit

    def describe(self) -> Iterator[Metric]:
        yield from ()

    def collect(self) -> Iterator[Metric]:
        try:
            backlog = self._audit.connection().execute(_BACKLOG).fetchone()
            dead_letters = self._client.llen(BILLING_DLQ)
        except (psycopg.Error, redis.RedisError):
            # Absent samples say "not known"; a zero would say "empty".
            return
        pending, failed, oldest_age_s = backlog or (0, 0, 0.0)
        for name, text, value in (
            ("acp_outbox_pending_count", "Outbox rows that wait for their usage record", pending),
            ("acp_outbox_failed_count", "Outbox rows that were given up", failed),
            ("acp_outbox_oldest_pending_age_seconds", "Age of the oldest waiting outbox row", float(oldest_age_s)),
            ("acp_billing_dlq_length", "Usage events in the dead letters", dead_letters),
        ):
            yield GaugeMetricFamily(name, text, value=value)


def main(settings: Settings) -> int:
    """Run the usage worker until SIGTERM."""
    audit = Database(settings.dsn("audit"), "acp-usage-outbox")
    usage = Database(settings.dsn("usage"), "acp-usage")
    worker = UsageWorker(redis_client(settings), audit, usage, settings.outbox_grace_s, settings.outbox_max_retries)
    collector = OutboxCollector(redis_client(settings), Database(settings.dsn("audit"), "acp-usage-metrics"))
    return serve("usage", settings, [worker.run], [collector])
