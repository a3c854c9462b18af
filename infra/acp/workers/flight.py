"""The flight recorder: events become timelines, each opened once and closed once.

Owns `execution_timelines` and `execution_steps`.  Events may come in any order and more than once: an opening
never reopens what is closed, and a closing carries all that the opening said.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from prometheus_client import Counter

from infra.acp import faults
from infra.acp.backfill import close_stuck
from infra.acp.events import FLIGHT_DLQ, FLIGHT_GROUP, FLIGHT_STREAM, FlightEvent, decode_flight
from infra.acp.settings import Settings
from infra.acp.workers.runtime import Database, redis_client, serve
from infra.acp.workers.stream import Stream, StreamCollector, StreamReader, StreamWorker

logger = logging.getLogger(__name__)

STREAM: Final = Stream(FLIGHT_STREAM, FLIGHT_GROUP, FLIGHT_DLQ)
BATCH: Final = 1_000
LINGER_S: Final = 0.5

CLOSED = Counter("acp_flight_timeline_closed_by_status_total", "Timelines closed", ["status"])

_UPSERT_TIMELINES = """
    INSERT INTO execution_timelines AS timeline (
        id, org_id, tenant_id, request_id, session_id, agent_id, tool, started_at, completed_at, duration_ms,
        final_decision, final_risk, status, metadata_json)
    SELECT * FROM unnest(
        %s::uuid[], %s::uuid[], %s::uuid[], %s::varchar[], %s::varchar[], %s::uuid[], %s::varchar[],
        %s::timestamptz[], %s::timestamptz[], %s::int[], %s::varchar[], %s::float8[], %s::varchar[], %s::jsonb[])
    ON CONFLICT (tenant_id, request_id) DO UPDATE SET
        completed_at = excluded.completed_at,
        duration_ms = excluded.duration_ms,
        final_decision = excluded.final_decision,
        final_risk = excluded.final_risk,
        status = excluded.status,
        metadata_json = excluded.metadata_json,
        updated_at = now()
    WHERE excluded.status <> 'in_progress' AND timeline.status IN ('in_progress', 'recovered_backfill')
"""
_INSERT_STEPS = """
    INSERT INTO execution_steps (
        timeline_id, request_id, step_index, step_type, status, latency_ms, risk_score, summary, occurred_at)
    SELECT id, request_id, 0, step_type, status, latency_ms, risk_score, summary, occurred_at FROM unnest(
        %s::uuid[], %s::varchar[], %s::varchar[], %s::varchar[], %s::float8[], %s::float8[], %s::text[],
        %s::timestamptz[]) AS step (id, request_id, step_type, status, latency_ms, risk_score, summary, occurred_at)
    ON CONFLICT (timeline_id, step_index) DO NOTHING
"""


def timeline_id(event: FlightEvent) -> str:
    """Name a timeline by its tenant and request, so that a step knows it without asking."""
    return str(uuid5(NAMESPACE_OID, event.tenant_id + event.request_id))


def latest_of_each(events: list[FlightEvent]) -> list[FlightEvent]:
    """Keep one event per timeline: its first closing if there is one, else its first opening.

    Most calls open and close within one batch, and then cost one row written once.
    """
    kept: dict[tuple[str, str], FlightEvent] = {}
    for event in events:
        key = (event.tenant_id, event.request_id)
        known = kept.get(key)
        if known is None or (known.status == "in_progress" and event.status != "in_progress"):
            kept[key] = event
    return list(kept.values())


def _without_lost_ends(events: list[FlightEvent]) -> list[FlightEvent]:
    fault = faults.active("timeline_not_closed")
    if fault is None:
        return events
    return [
        event for event in events if event.status == "in_progress" or not fault.picks(event.request_id, event.tenant_id)
    ]


class FlightWriter:
    """Writes batches of flight events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, events: list[FlightEvent]) -> None:
        """Commit a batch, all of it or nothing; raises psycopg.Error."""
        latest = latest_of_each(_without_lost_ends(events))
        if not latest:
            return
        timelines = [
            (
                timeline_id(event),
                event.org_id or event.tenant_id,
                event.tenant_id,
                event.request_id,
                event.session_id,
                event.agent_id,
                event.tool,
                event.started_at,
                event.completed_at,
                event.duration_ms,
                event.final_decision,
                event.final_risk,
                event.status,
                json.dumps(event.metadata),
            )
            for event in latest
        ]
        steps = [
            (
                row[0],
                event.request_id,
                event.step.step_type,
                event.step.status,
                event.step.latency_ms,
                event.step.risk_score,
                event.step.summary,
                event.completed_at or event.started_at,
            )
            for row, event in zip(timelines, latest, strict=True)
            if event.step is not None
        ]
        connection = self._database.connection()
        with connection.transaction(), connection.pipeline():
            connection.execute(_UPSERT_TIMELINES, [*map(list, zip(*timelines, strict=True))])
            if steps:
                connection.execute(_INSERT_STEPS, [*map(list, zip(*steps, strict=True))])
        for event in latest:
            if event.status != "in_progress":
                CLOSED.labels(event.status).inc()


class Backfill:
    """Closes stuck timelines every so often."""

    def __init__(self, database: Database, grace_s: float, interval_s: float) -> None:
        self._database = database
        self._grace_s = grace_s
        self._interval_s = interval_s
        self._next_at = time.monotonic()

    def run_if_due(self) -> None:
        """Close what is stuck, if the interval has passed; raises psycopg.Error."""
        if time.monotonic() < self._next_at or faults.active("backfill_dead"):
            return
        self._next_at = time.monotonic() + self._interval_s
        closed = close_stuck(self._database.connection(), self._grace_s)
        if closed:
            CLOSED.labels("recovered_backfill").inc(closed)
            logger.warning("closed %d timelines that were in progress for over %.0f s", closed, self._grace_s)


def main(settings: Settings) -> int:
    """Run the flight recorder and its backfill until SIGTERM."""
    client = redis_client(settings)
    database = Database(settings.dsn("flight"), "acp-flight")
    worker = StreamWorker(
        StreamReader(client, STREAM, "flight-recorder-1", BATCH, LINGER_S),
        STREAM,
        decode_flight,
        FlightWriter(database).write,
    )
    backfill = Backfill(database, settings.flight_backfill_grace_s, settings.flight_backfill_interval_s)

    def task(stop: threading.Event) -> None:
        worker.run(stop, between=backfill.run_if_due)

    collector = StreamCollector(redis_client(settings), STREAM, "acp_flight_stream_length")
    return serve("flight", settings, [task], [collector])
