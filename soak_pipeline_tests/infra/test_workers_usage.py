from __future__ import annotations

import json

import psycopg
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from infra.acp.events import BILLING_DLQ, NIL_UUID
from infra.acp.workers.runtime import Database
from infra.acp.workers.usage import DRAIN_LATENCY, OutboxCollector, UsageWorker
from soak_pipeline_tests.infra.platform_events import TENANTS, audit_event, query, write_audit
from soak_pipeline_tests.infra.servers import Servers

RECORDS = "SELECT audit_id::text, tenant_id::text, tool, units, cost FROM usage_records ORDER BY audit_id"
COUNTERS = "SELECT tenant_id::text, record_count, total_units, total_cost FROM usage_counters ORDER BY tenant_id"
OUTBOX = "SELECT audit_id::text, status, retry_count FROM pending_usage_events ORDER BY audit_id"


def worker_on(servers: Servers, client: redis.Redis, grace_s: float = 0.0, max_retries: int = 5) -> UsageWorker:
    audit = Database(servers.dsn("acp_audit"), "test")
    usage = Database(servers.dsn("acp_usage"), "test")
    return UsageWorker(client, audit, usage, grace_s, max_retries)


def drains_observed() -> float:
    return next(
        sample.value
        for family in DRAIN_LATENCY.collect()
        for sample in family.samples
        if sample.name.endswith("_count")
    )


def test_each_outbox_row_becomes_one_record_and_leaves(servers: Servers, client: redis.Redis) -> None:
    sent = [audit_event(TENANTS[number % 2], units=2, cost=0.5, tool=None) for number in range(6)]
    write_audit(servers, client, *sent)
    before = drains_observed()
    assert worker_on(servers, client).drain() == 6
    assert query(servers, "acp_usage", RECORDS) == sorted(
        (event.request_id, event.tenant_id, "unknown", 2, 0.5) for event in sent
    )
    assert query(servers, "acp_usage", COUNTERS) == [(tenant, 3, 6, 1.5) for tenant in TENANTS[:2]]
    assert query(servers, "acp_audit", OUTBOX) == []
    assert drains_observed() == before + 6


def test_the_grace_is_kept(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, audit_event())
    assert worker_on(servers, client, grace_s=30.0).drain() == 0
    query(
        servers,
        "acp_audit",
        "UPDATE pending_usage_events SET created_at = created_at - interval '30 s' RETURNING audit_id",
    )
    assert worker_on(servers, client, grace_s=30.0).drain() == 1


def test_a_crash_between_the_two_commits_bills_nothing_twice(
    servers: Servers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audit(servers, client, audit_event(), audit_event())
    worker = worker_on(servers, client)
    record = worker._record

    def record_and_crash(rows: list[object]) -> None:
        record(rows)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_record", record_and_crash)
        with pytest.raises(KeyboardInterrupt):
            worker.drain()
    assert len(query(servers, "acp_audit", OUTBOX)) == 2
    assert len(query(servers, "acp_usage", RECORDS)) == 2
    assert worker_on(servers, client).drain() == 2
    assert query(servers, "acp_audit", OUTBOX) == []
    assert query(servers, "acp_usage", COUNTERS) == [(TENANTS[0], 2, 2, 0.002)]


def test_a_server_that_is_away_costs_no_try(
    servers: Servers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audit(servers, client, audit_event())
    worker = worker_on(servers, client)

    def unreachable(rows: object) -> None:
        raise psycopg.OperationalError("server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_record", unreachable)
        for _ in range(9):
            with pytest.raises(psycopg.OperationalError):
                worker.drain()
    assert [row[1:] for row in query(servers, "acp_audit", OUTBOX)] == [("pending", 0)]
    assert worker.drain() == 1


def test_a_row_that_cannot_be_billed_is_retried_then_a_dead_letter_and_holds_up_no_other(
    servers: Servers, client: redis.Redis
) -> None:
    good, bad = audit_event(), audit_event(units=2)
    write_audit(servers, client, good, bad)
    refuse = "ALTER TABLE usage_records ADD CONSTRAINT refused CHECK (units < 2)"
    with psycopg.connect(servers.dsn("acp_usage")) as connection:
        connection.execute(refuse)
    try:
        worker = worker_on(servers, client, max_retries=3)
        for tries in (1, 2, 3):
            worker.drain()
            status = "failed" if tries == 3 else "pending"
            assert query(servers, "acp_audit", OUTBOX) == [(bad.request_id, status, tries)]
            # The next try is put off; the test does not wait for it.
            soon = "UPDATE pending_usage_events SET next_attempt_at = now() RETURNING 1"
            query(servers, "acp_audit", soon)
        assert worker.drain() == 0
    finally:
        with psycopg.connect(servers.dsn("acp_usage")) as connection:
            connection.execute("ALTER TABLE usage_records DROP CONSTRAINT refused")
    assert [row[0] for row in query(servers, "acp_usage", RECORDS)] == [good.request_id]
    letters = [json.loads(item) for item in client.lrange(BILLING_DLQ, 0, -1)]
    assert [(letter["audit_id"], letter["tenant_id"], letter["retry_count"]) for letter in letters] == [
        (bad.request_id, TENANTS[0], 3)
    ]
    assert "refused" in letters[0]["error"]


def test_a_retry_waits(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, audit_event())
    query(
        servers,
        "acp_audit",
        "UPDATE pending_usage_events SET next_attempt_at = now() + interval '1 h' RETURNING 1",
    )
    assert worker_on(servers, client).drain() == 0


def test_metrics_tell_the_backlog(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, audit_event(), audit_event(agent_id=NIL_UUID))
    client.lpush(BILLING_DLQ, "{}")
    registry = CollectorRegistry()
    registry.register(OutboxCollector(client, Database(servers.dsn("acp_audit"), "test")))
    text = generate_latest(registry).decode()
    assert "acp_outbox_pending_count 2.0" in text
    assert "acp_outbox_failed_count 0.0" in text
    assert "acp_billing_dlq_length 1.0" in text
    worker_on(servers, client).drain()
    assert "acp_outbox_oldest_pending_age_seconds 0.0" in generate_latest(registry).decode()

    absent = CollectorRegistry()
    absent.register(OutboxCollector(client, Database("postgresql://127.0.0.1:1/none", "test")))
    assert generate_latest(absent) == b""
