from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import psycopg
import pytest
import redis

from infra.acp import chain, events
from infra.acp.workers.audit import AuditWriter
from infra.acp.workers.runtime import Database
from soak_pipeline_tests.infra.platform_events import (
    NOON,
    NOT_STOPPED,
    TENANTS,
    append,
    audit_event,
    audit_worker,
    query,
    send_audit,
    tamper,
    verified,
    work_off,
    write_audit,
)
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.waiting import PATIENCE_S

COUNTERS = "SELECT tenant_id::text, row_count, billable_count FROM audit_counters ORDER BY tenant_id"


def writer_on(servers: Servers, client: redis.Redis) -> AuditWriter:
    return AuditWriter(client, Database(servers.dsn("acp_audit"), "test"))


def test_a_row_has_what_the_event_said(servers: Servers, client: redis.Redis) -> None:
    sent = audit_event(reason="tab\tand \\ and 'quote' and é", metadata={"risk": 0.5, "tags": ["a\nb"]}, tool=None)
    write_audit(servers, client, sent)
    rows = query(
        servers,
        "acp_audit",
        'SELECT org_id::text, action, tool, decision, reason, metadata_json, request_id, "timestamp", prev_hash,'
        " hash_version, chain_shard, billing_status FROM audit_logs",
    )
    assert rows == [
        (
            TENANTS[0],
            "execute_tool",
            None,
            "allow",
            sent.reason,
            {"risk": 0.5, "tags": ["a\nb"]},
            sent.request_id,
            NOON,
            chain.GENESIS,
            2,
            0,
            "completed",
        )
    ]


def test_each_tenant_has_one_chain_in_the_order_sent(servers: Servers, client: redis.Redis) -> None:
    sent = [audit_event(TENANTS[number % 3], occurred_at=NOON - timedelta(seconds=number)) for number in range(450)]
    write_audit(servers, client, *sent)
    for tenant in TENANTS:
        assert verified(servers, tenant).is_valid
        stored = query(
            servers, "acp_audit", 'SELECT request_id FROM audit_logs WHERE tenant_id = %s ORDER BY "timestamp"', tenant
        )
        assert [row[0] for row in stored] == [event.request_id for event in sent if event.tenant_id == tenant]
    assert query(servers, "acp_audit", COUNTERS) == [(tenant, 150, 150) for tenant in TENANTS]


def test_billable_calls_and_only_those_have_an_outbox_row(servers: Servers, client: redis.Redis) -> None:
    billable = audit_event(decision="block", units=3, cost=0.25)
    write_audit(servers, client, billable, audit_event(decision="reject"), audit_event(action="user_login"))
    outbox = "SELECT audit_id::text, tenant_id::text, tool, units, cost, status, retry_count FROM pending_usage_events"
    assert query(servers, "acp_audit", outbox) == [
        (billable.request_id, TENANTS[0], "read_file", 3, 0.25, "pending", 0)
    ]
    assert query(servers, "acp_audit", COUNTERS) == [(TENANTS[0], 3, 1)]
    hourly = "SELECT action, decision, row_count, hour FROM audit_hourly_counters ORDER BY 1, 2"
    hour = NOON.replace(microsecond=0)
    assert query(servers, "acp_audit", hourly) == [
        ("execute_tool", "block", 1, hour),
        ("execute_tool", "reject", 1, hour),
        ("user_login", "allow", 1, hour),
    ]


def test_a_request_has_one_row_however_often_it_is_delivered(servers: Servers, client: redis.Redis) -> None:
    event, other = audit_event(), audit_event()
    write_audit(servers, client, event, event)
    write_audit(servers, client, other, event, audit_event(TENANTS[1], request_id=event.request_id))
    assert Counter(query(servers, "acp_audit", "SELECT request_id FROM audit_logs")) == Counter(
        [(event.request_id,), (other.request_id,)]
    )
    assert query(servers, "acp_audit", COUNTERS) == [(TENANTS[0], 2, 2)]
    assert verified(servers, TENANTS[0]).is_valid


def test_a_crash_between_commit_and_acknowledgement_writes_nothing_twice(
    servers: Servers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [audit_event(TENANTS[number % 2]) for number in range(20)]
    send_audit(client, *sent)
    worker = audit_worker(servers, client)
    worker.step(NOT_STOPPED)
    with monkeypatch.context() as patch:
        patch.setattr("infra.acp.workers.stream.StreamReader.acknowledge", _crash)
        with pytest.raises(KeyboardInterrupt):
            worker.step(NOT_STOPPED)
    assert query(servers, "acp_audit", "SELECT count(*) FROM audit_logs") == [(20,)]
    work_off(audit_worker(servers, client), client, events.AUDIT_STREAM)
    assert query(servers, "acp_audit", "SELECT count(*) FROM audit_logs") == [(20,)]
    assert query(servers, "acp_audit", COUNTERS) == [(tenant, 10, 10) for tenant in TENANTS[:2]]


def test_nothing_is_committed_once_the_lock_was_lost(
    servers: Servers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm = chain.ChainLock.confirm

    def confirm_after_takeover(lock: chain.ChainLock) -> None:
        client.set(chain.LOCK_PREFIX + TENANTS[0], "another owner")
        confirm(lock)

    writer = writer_on(servers, client)
    with monkeypatch.context() as patch:
        patch.setattr(chain.ChainLock, "confirm", confirm_after_takeover)
        with pytest.raises(chain.ChainLockLost):
            writer.write([audit_event(), audit_event(TENANTS[1])])
    assert query(servers, "acp_audit", "SELECT count(*) FROM audit_logs") == [(0,)]
    assert client.get(chain.LOCK_PREFIX + TENANTS[0]) == b"another owner"
    assert client.get(chain.LOCK_PREFIX + TENANTS[1]) is None


def test_an_event_that_cannot_be_stored_does_not_keep_its_batch_from_the_chain(
    servers: Servers, client: redis.Redis
) -> None:
    sent = [audit_event() for _ in range(7)]
    send_audit(client, *sent)
    bad = events.encode_audit(audit_event()) | {"metadata_json": '{"a": "\\u0000"}'}
    append(client, events.AUDIT_STREAM, bad, {"tenant_id": "system"})
    work_off(audit_worker(servers, client), client, events.AUDIT_STREAM)
    assert verified(servers, TENANTS[0]).processed_count == 7
    assert verified(servers, TENANTS[0]).is_valid
    assert client.xlen(events.AUDIT_DLQ) == 2


def test_the_writer_goes_on_from_the_head_that_is_stored(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, audit_event())
    tamper(servers, "UPDATE audit_logs SET event_hash = %s", "e" * 64)
    write_audit(servers, client, audit_event())
    assert [violation["kind"] for violation in verified(servers, TENANTS[0]).violations] == ["hash_tamper"]


def test_no_fork_among_concurrent_writers_even_while_redis_loses_their_locks(
    servers: Servers, client: redis.Redis
) -> None:
    finished = threading.Event()
    per_writer, writers = 120, 3
    failures: list[BaseException] = []

    def lose_locks() -> None:
        # So often and no more: on a busy machine no batch would ever be quicker than the next loss.
        for _ in range(300):
            if finished.wait(0.003):
                return
            client.delete(*(chain.LOCK_PREFIX + tenant for tenant in TENANTS))

    def write_batches() -> None:
        own = redis.Redis.from_url(servers.redis_url)
        writer = writer_on(servers, own)
        for number in range(0, per_writer, 6):
            batch = [audit_event(TENANTS[(number + offset) % 3]) for offset in range(6)]
            while True:
                try:
                    writer.write(batch)
                    break
                except chain.ChainLockLost:
                    continue
                except BaseException as error:
                    failures.append(error)
                    raise

    chaos = threading.Thread(target=lose_locks)
    threads = [threading.Thread(target=write_batches) for _ in range(writers)]
    for thread in (chaos, *threads):
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    finished.set()
    chaos.join(PATIENCE_S)
    assert failures == []
    for tenant in TENANTS:
        verifier = verified(servers, tenant)
        assert (verifier.violations, verifier.processed_count) == ([], per_writer * writers // 3)


def test_a_writer_that_hangs_is_ended_by_the_server(servers: Servers) -> None:
    database = Database(servers.dsn("acp_audit"), "test")
    connection = database.connection()
    connection.execute("SET idle_in_transaction_session_timeout = '50ms'")

    def hang() -> None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(1)")
            threading.Event().wait(0.5)
            connection.execute("SELECT 1")

    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        hang()
    assert database.connection() is not connection
    database.close()


def _crash(*_: object) -> None:
    raise KeyboardInterrupt
