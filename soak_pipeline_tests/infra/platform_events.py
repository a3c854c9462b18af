"""Events as the gateway would send them, and small readers of what became of them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import redis

from infra.acp import events
from infra.acp.chain import ChainRow, ChainVerifier
from infra.acp.workers import audit, flight, graph
from infra.acp.workers.runtime import Database
from infra.acp.workers.stream import StreamReader, StreamWorker
from soak_pipeline_tests.infra.servers import Servers

NOON = datetime(2026, 3, 1, 12, 0, 0, 500, tzinfo=UTC)
TENANTS = tuple(str(UUID(int=number)) for number in (0xA, 0xB, 0xC))
NOT_STOPPED = threading.Event()


def audit_event(tenant_id: str = TENANTS[0], **changes: Any) -> events.AuditEvent:
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "request_id": str(uuid4()),
        "action": "execute_tool",
        "decision": "allow",
        "tool": "read_file",
        "occurred_at": NOON,
        "metadata": {"status": 200},
        **changes,
    }
    return events.AuditEvent(**values)


def flight_event(status: str, request_id: str, tenant_id: str = TENANTS[0], **changes: Any) -> events.FlightEvent:
    values: dict[str, Any] = {"tenant_id": tenant_id, "request_id": request_id, "status": status, "started_at": NOON}
    if status != "in_progress":
        values |= {
            "completed_at": NOON + timedelta(milliseconds=25),
            "duration_ms": 25,
            "final_decision": "allow" if status == "ok" else "error",
            "final_risk": 0.25,
            "step": events.FlightStep(step_type="tool_execution", status=status, latency_ms=25.0),
        }
    return events.FlightEvent(**(values | changes))


def graph_event(tenant_id: str = TENANTS[0], **changes: Any) -> events.GraphEvent:
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "request_id": str(uuid4()),
        "agent_id": str(UUID(int=7)),
        "tool": "read_file",
        "outcome": "allow",
        "occurred_at": NOON,
        **changes,
    }
    return events.GraphEvent(**values)


def append(client: redis.Redis, stream: str, *entries: Any) -> None:
    """Append encoded events to a stream, in one round trip."""
    with client.pipeline(transaction=False) as pipeline:
        for entry in entries:
            pipeline.xadd(stream, entry)
        pipeline.execute()


def send_audit(client: redis.Redis, *sent: events.AuditEvent) -> None:
    append(client, events.AUDIT_STREAM, *map(events.encode_audit, sent))


def audit_worker(servers: Servers, client: redis.Redis, number: int = 0) -> StreamWorker[events.AuditEvent]:
    writer = audit.AuditWriter(client, Database(servers.dsn("acp_audit"), "test"))
    reader = StreamReader(client, audit.STREAM, f"audit-{number}", 200, 0.0)
    return StreamWorker(reader, audit.STREAM, events.decode_audit, writer.write)


def flight_worker(servers: Servers, client: redis.Redis) -> StreamWorker[events.FlightEvent]:
    writer = flight.FlightWriter(Database(servers.dsn("acp_flight_recorder"), "test"))
    reader = StreamReader(client, flight.STREAM, "flight-recorder-1", 200, 0.0)
    return StreamWorker(reader, flight.STREAM, events.decode_flight, writer.write)


def graph_worker(servers: Servers, client: redis.Redis) -> StreamWorker[events.GraphEvent]:
    writer = graph.GraphWriter(Database(servers.dsn("acp_identity_graph"), "test"))
    reader = StreamReader(client, graph.STREAM, "identity-graph-1", 200, 0.0)
    return StreamWorker(reader, graph.STREAM, events.decode_graph, writer.write)


def work_off(worker: StreamWorker[Any], client: redis.Redis, stream: str) -> None:
    """Let a worker deliver until its stream is empty."""
    worker.step(NOT_STOPPED)
    while client.xlen(stream):
        worker.step(NOT_STOPPED)


def write_audit(servers: Servers, client: redis.Redis, *sent: events.AuditEvent) -> None:
    """Put events through stream and audit worker into their rows."""
    send_audit(client, *sent)
    work_off(audit_worker(servers, client), client, events.AUDIT_STREAM)


def query(servers: Servers, database: str, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(servers.dsn(database), options="-c timezone=UTC") as connection:
        return connection.execute(statement, arguments).fetchall()


def tamper(servers: Servers, statement: str, *arguments: Any) -> None:
    """Change audit rows behind the back of the trigger that forbids it."""
    with psycopg.connect(servers.dsn("acp_audit")) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement, arguments)


def verified(servers: Servers, tenant_id: str) -> ChainVerifier:
    """Walk a tenant's stored chain."""
    verifier = ChainVerifier()
    statement = f"SELECT {ChainRow.COLUMNS} FROM audit_logs WHERE tenant_id = %s ORDER BY chain_sequence"
    for row in query(servers, "acp_audit", statement, tenant_id):
        verifier.walk(ChainRow(*row))
    return verifier
