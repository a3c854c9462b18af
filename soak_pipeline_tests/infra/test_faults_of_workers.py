"""Each fault of a worker does what its line in the list says, to the tenants that it names and to no other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
import redis

from infra.acp import chain, events, faults
from infra.acp.signing import errors_of
from infra.acp.workers import audit, meddling, usage
from infra.acp.workers.flight import Backfill, FlightWriter
from infra.acp.workers.graph import GraphWriter
from infra.acp.workers.runtime import Database
from infra.acp.workers.sealer import LAST_SUCCESS
from soak_pipeline_tests.infra.platform_events import (
    NOON,
    NOT_STOPPED,
    TENANTS,
    append,
    audit_event,
    audit_worker,
    flight_event,
    flight_worker,
    graph_event,
    query,
    send_audit,
    verified,
    work_off,
    write_audit,
)
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.infra.test_workers_sealer import ROOTS, SIGNER, expected_roots, sealer_on
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

HIT, SPARED = TENANTS[:2]
REQUESTS = "SELECT request_id FROM audit_logs WHERE tenant_id = %s"
OUTBOX = "SELECT audit_id::text, status, retry_count FROM pending_usage_events ORDER BY audit_id"
RECORDS = "SELECT audit_id::text FROM usage_records WHERE tenant_id = %s ORDER BY 1"


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


def audit_writer(servers: Servers, client: redis.Redis) -> audit.AuditWriter:
    return audit.AuditWriter(client, Database(servers.dsn("acp_audit"), "test"))


def usage_worker(servers: Servers, client: redis.Redis) -> usage.UsageWorker:
    outbox, records = Database(servers.dsn("acp_audit"), "test"), Database(servers.dsn("acp_usage"), "test")
    return usage.UsageWorker(client, outbox, records, 0.0, 5)


def of_both(count: int) -> list[events.AuditEvent]:
    return [audit_event(tenant) for tenant in (HIT, SPARED) for _ in range(count)]


def kinds(servers: Servers, tenant_id: str) -> set[str]:
    return {violation["kind"] for violation in verified(servers, tenant_id).violations}


def followers_of_one_row(servers: Servers) -> int:
    """Most rows of one chain that name the same row as the one before them."""
    statement = "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM audit_logs GROUP BY tenant_id, prev_hash) x"
    return int(query(servers, "acp_audit", statement)[0][0])


def write_at_once(servers: Servers, rounds: int, is_enough: Callable[[], bool] = lambda: False) -> None:
    """Let two writers append to the same chain at the same moments."""
    start = threading.Barrier(2)

    def write() -> None:
        client = redis.Redis.from_url(servers.redis_url)
        writer = audit_writer(servers, client)
        for _ in range(rounds):
            writer.write([audit_event(HIT), audit_event(SPARED)])
            start.wait(PATIENCE_S)
            if is_enough():
                return
            start.wait(PATIENCE_S)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_writers_without_the_chain_lock_fork_a_chain_and_with_it_do_not(servers: Servers) -> None:
    write_at_once(servers, rounds=10)
    assert (followers_of_one_row(servers), kinds(servers, HIT)) == (1, set())
    faults.set_faults({"chain_lock_skipped": {"share": 1.0, "pause_ms": 50.0}})
    write_at_once(servers, rounds=50, is_enough=lambda: followers_of_one_row(servers) > 1)
    assert followers_of_one_row(servers) == 2
    assert "fork" in kinds(servers, HIT) | kinds(servers, SPARED)


def test_the_lock_is_skipped_for_a_share_of_the_batches(servers: Servers, client: redis.Redis) -> None:
    faults.set_faults({"chain_lock_skipped": {}})
    skipped = sum(chain.ChainLock(client, [HIT]).is_skipped for _ in range(2_000))
    assert 300 < skipped < 500


def test_at_its_default_strength_a_chain_of_60_calls_per_second_forks(servers: Servers, client: redis.Redis) -> None:
    faults.set_faults({"chain_lock_skipped": {}})
    stop = threading.Event()
    consumers = [
        threading.Thread(target=audit.consumer_task(servers.settings(), number), args=[stop]) for number in range(2)
    ]
    for consumer in consumers:
        consumer.start()
    try:

        def is_forked_by_a_few_calls_more() -> bool:
            for _ in range(12):
                send_audit(client, audit_event(HIT))
                time.sleep(1 / 60)
            return followers_of_one_row(servers) > 1

        wait_for(is_forked_by_a_few_calls_more, "a fork")
    finally:
        stop.set()
        for consumer in consumers:
            consumer.join(PATIENCE_S)
            assert not consumer.is_alive()


def test_a_lock_that_is_not_released_stays_until_its_time_to_live_is_over(
    servers: Servers, client: redis.Redis
) -> None:
    faults.set_faults({"chain_lock_never_released": {"tenant": HIT}})
    audit_writer(servers, client).write(of_both(1))
    assert 0 < client.pttl(chain.LOCK_PREFIX + HIT) <= 5_000
    assert client.exists(chain.LOCK_PREFIX + SPARED) == 0
    with pytest.raises(chain.ChainLockTimeout):
        chain.ChainLock(client, [HIT]).acquire(timeout_s=0.02)
    client.delete(chain.LOCK_PREFIX + HIT)
    faults.clear()
    audit_writer(servers, client).write(of_both(1))
    assert client.keys(chain.LOCK_PREFIX + "*") == []
    assert kinds(servers, HIT) == set()


def test_a_tampered_row_is_told_by_its_own_hash_only(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, *of_both(30))
    sealer_on(servers).seal_all()
    faults.set_faults({"row_tampered": {"tenant": HIT, "every_s": 0.1}})
    database = Database(servers.dsn("acp_audit"), "test")

    def is_tampered() -> bool:
        meddling.tamper_if_due(database)
        return not verified(servers, HIT).is_valid

    wait_for(is_tampered, "a row edited")
    database.close()
    assert (kinds(servers, HIT), kinds(servers, SPARED)) == ({"hash_tamper"}, set())
    assert verified(servers, HIT).processed_count == 30
    roots = {root[0]: (root[1], root[3]) for root in query(servers, "acp_audit", ROOTS, HIT)}
    assert roots == expected_roots(servers, HIT)
    with pytest.raises(psycopg.errors.RaiseException):
        query(servers, "acp_audit", "UPDATE audit_logs SET reason = 'x' RETURNING 1")


def test_a_deleted_row_is_told_by_the_row_after_it_only(servers: Servers, client: redis.Redis) -> None:
    faults.set_faults({"row_deleted": {"tenant": HIT, "every_s": 0.1}})
    writer = audit_writer(servers, client)
    sent: list[str] = []

    def is_deleted() -> bool:
        batch = of_both(3)
        sent.extend(event.request_id for event in batch if event.tenant_id == HIT)
        writer.write(batch)
        return len(query(servers, "acp_audit", REQUESTS, HIT)) < len(sent)

    wait_for(is_deleted, "a row deleted")
    faults.clear()
    missing = set(sent) - {row[0] for row in query(servers, "acp_audit", REQUESTS, HIT)}
    assert len(missing) == 1
    assert (kinds(servers, HIT), kinds(servers, SPARED)) == ({"chain_gap"}, set())
    assert missing.isdisjoint(row[0] for row in query(servers, "acp_audit", OUTBOX))
    assert len(query(servers, "acp_audit", OUTBOX)) == 2 * len(sent) - 1
    sealer_on(servers).seal_all()
    roots = {root[0]: (root[1], root[3]) for root in query(servers, "acp_audit", ROOTS, HIT)}
    assert roots == expected_roots(servers, HIT)
    with pytest.raises(psycopg.errors.RaiseException):
        query(servers, "acp_audit", "DELETE FROM audit_logs RETURNING 1")


def test_a_dropped_row_leaves_the_outbox_without_a_record(servers: Servers, client: redis.Redis) -> None:
    sent = of_both(3)
    write_audit(servers, client, *sent)
    faults.set_faults({"usage_dropped": {"tenant": HIT, "share": 1.0}})
    assert usage_worker(servers, client).drain() == 6
    assert query(servers, "acp_audit", OUTBOX) == []
    assert query(servers, "acp_usage", RECORDS, HIT) == []
    assert len(query(servers, "acp_usage", RECORDS, SPARED)) == 3


def test_a_call_billed_twice_has_two_records_of_the_same_request(servers: Servers, client: redis.Redis) -> None:
    try:
        first = of_both(2)
        write_audit(servers, client, *first)
        faults.set_faults({"usage_billed_twice": {"tenant": HIT, "share": 1.0}})
        assert usage_worker(servers, client).drain() == 4
        faults.clear()
        later = audit_event(HIT)
        write_audit(servers, client, later)
        assert usage_worker(servers, client).drain() == 1
        twice = [event.request_id for event in first if event.tenant_id == HIT] * 2
        assert [row[0] for row in query(servers, "acp_usage", RECORDS, HIT)] == sorted([*twice, later.request_id])
        assert len(query(servers, "acp_usage", RECORDS, SPARED)) == 2
        counted = "SELECT tenant_id::text, record_count, total_units FROM usage_counters ORDER BY 1"
        assert query(servers, "acp_usage", counted) == [(HIT, 5, 5), (SPARED, 2, 2)]
    finally:
        with psycopg.connect(servers.dsn("acp_usage")) as connection:
            connection.execute("DROP TABLE IF EXISTS usage_records_late")


def test_a_slow_worker_takes_time_for_each_row() -> None:
    assert (usage.slowness_s(100), usage.batch_size()) == (0.0, 1_000)
    faults.set_faults({"usage_worker_slow": {"delay_ms": 40.0}})
    assert usage.slowness_s(100) == pytest.approx(4.0)
    assert usage.batch_size() == 25
    faults.set_faults({"usage_worker_slow": {"delay_ms": 60_000.0}})
    assert (usage.slowness_s(0), usage.batch_size()) == (0.0, 1)


def test_a_slow_worker_stops_at_once_when_asked(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, audit_event())
    faults.set_faults({"usage_worker_slow": {"delay_ms": 60_000.0}})
    stop = threading.Event()
    thread = threading.Thread(target=usage_worker(servers, client).run, args=[stop])
    thread.start()
    wait_for(lambda: query(servers, "acp_audit", OUTBOX) == [], "the row billed")
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_stalled_outbox_keeps_its_rows_once_the_time_has_come(servers: Servers, client: redis.Redis) -> None:
    worker = usage_worker(servers, client)
    write_audit(servers, client, audit_event())
    faults.set_faults({"outbox_stalled": {"set_at": time.time() - 10.0}})
    assert worker.drain() == 1
    write_audit(servers, client, audit_event())
    faults.set_faults({"outbox_stalled": {"set_at": time.time() - 61.0}})
    assert worker.drain() == 0
    assert len(query(servers, "acp_audit", OUTBOX)) == 1
    faults.clear("outbox_stalled")
    assert worker.drain() == 1


def test_a_refused_row_is_a_dead_letter_and_holds_up_no_other(servers: Servers, client: redis.Redis) -> None:
    refused, other = audit_event(HIT), audit_event(SPARED)
    write_audit(servers, client, refused, other)
    faults.set_faults({"dead_letter": {"tenant": HIT, "share": 1.0}})
    worker = usage_worker(servers, client)
    assert [worker.drain(), worker.drain()] == [1, 0]
    assert query(servers, "acp_audit", OUTBOX) == [(refused.request_id, "failed", 5)]
    letters = [json.loads(item) for item in client.lrange(events.BILLING_DLQ, 0, -1)]
    assert [(letter["audit_id"], letter["retry_count"]) for letter in letters] == [(refused.request_id, 5)]
    assert query(servers, "acp_usage", RECORDS, HIT) == []


def test_a_timeline_whose_end_is_lost_stays_in_progress(servers: Servers) -> None:
    faults.set_faults({"timeline_not_closed": {"tenant": HIT, "share": 1.0}})
    writer = FlightWriter(Database(servers.dsn("acp_flight_recorder"), "test"))
    for tenant in (HIT, SPARED):
        request = str(uuid4())
        writer.write([flight_event("in_progress", request, tenant)])
        writer.write([flight_event("ok", request, tenant)])
        both = str(uuid4())
        writer.write([flight_event("in_progress", both, tenant), flight_event("ok", both, tenant)])
    statement = "SELECT tenant_id::text, status, count(*) FROM execution_timelines GROUP BY 1, 2 ORDER BY 1"
    assert query(servers, "acp_flight_recorder", statement) == [(HIT, "in_progress", 2), (SPARED, "ok", 2)]


def test_a_dead_backfill_closes_nothing(servers: Servers) -> None:
    database = Database(servers.dsn("acp_flight_recorder"), "test")
    FlightWriter(database).write([flight_event("in_progress", str(uuid4()), started_at=NOON)])
    faults.set_faults({"backfill_dead": {}})
    backfill = Backfill(database, grace_s=300.0, interval_s=0.0)
    backfill.run_if_due()
    statement = "SELECT status FROM execution_timelines"
    assert query(servers, "acp_flight_recorder", statement) == [("in_progress",)]
    faults.clear()
    backfill.run_if_due()
    assert query(servers, "acp_flight_recorder", statement) == [("recovered_backfill",)]


def test_a_tenant_without_root_has_none_even_if_it_had_one(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, *of_both(2))
    sealer = sealer_on(servers)
    assert sealer.seal_all() == 2
    faults.set_faults({"root_missing": {"tenant": HIT}})
    write_audit(servers, client, *of_both(2))
    assert sealer.seal_all() == 1
    assert query(servers, "acp_audit", ROOTS, HIT) == []
    assert [root[3] for root in query(servers, "acp_audit", ROOTS, SPARED)] == [4]


def test_a_stale_root_is_not_renewed_once_it_has_its_leaves(servers: Servers, client: redis.Redis) -> None:
    faults.set_faults({"root_stale": {"tenant": HIT, "leaves": 5.0}})
    sealer = sealer_on(servers)
    for _ in range(4):
        write_audit(servers, client, *of_both(3))
        sealer.seal_all()
    assert [root[3] for root in query(servers, "acp_audit", ROOTS, HIT)] == [6]
    assert [root[3] for root in query(servers, "acp_audit", ROOTS, SPARED)] == [12]
    faults.clear()
    sealer.seal_all()
    roots = {root[0]: (root[1], root[3]) for root in query(servers, "acp_audit", ROOTS, HIT)}
    assert roots == expected_roots(servers, HIT)


def test_a_root_of_wrong_leaves_has_the_right_number_and_a_genuine_signature(
    servers: Servers, client: redis.Redis
) -> None:
    faults.set_faults({"root_leaf_wrong": {"tenant": HIT, "share": 0.5}})
    write_audit(servers, client, *of_both(20))
    sealer_on(servers).seal_all()
    for tenant in (HIT, SPARED):
        ((day, root_hash, _, leaf_count, *_, signed),) = query(servers, "acp_audit", ROOTS, tenant)
        expected_hash, expected_count = expected_roots(servers, tenant)[day]
        assert leaf_count == expected_count
        assert (root_hash == expected_hash) is (tenant == SPARED)
        assert errors_of(signed, SIGNER.public_key_pem) == []


def test_a_wrong_signature_stands_under_a_root_that_is_right(servers: Servers, client: redis.Redis) -> None:
    faults.set_faults({"root_signature_wrong": {"tenant": HIT}})
    write_audit(servers, client, *of_both(3))
    sealer_on(servers).seal_all()
    for tenant, expected in ((HIT, ["signature_mismatch"]), (SPARED, [])):
        ((day, root_hash, _, leaf_count, *_, signed),) = query(servers, "acp_audit", ROOTS, tenant)
        assert expected_roots(servers, tenant)[day] == (root_hash, leaf_count)
        assert errors_of(signed, SIGNER.public_key_pem) == expected


def test_a_growing_stream_keeps_what_is_handled_and_has_nothing_pending(servers: Servers, client: redis.Redis) -> None:
    faults.set_faults({"growing_queue": {}})
    request = str(uuid4())
    sent = [events.encode_flight(flight_event(status, request)) for status in ("in_progress", "ok")]
    append(client, events.FLIGHT_STREAM, *sent)
    worker = flight_worker(servers, client)
    # The first step looks for what an earlier process left.
    assert [worker.step(NOT_STOPPED), worker.step(NOT_STOPPED)] == [0, 2]
    assert client.xlen(events.FLIGHT_STREAM) == 2
    assert client.xpending(events.FLIGHT_STREAM, events.FLIGHT_GROUP)["pending"] == 0
    assert query(servers, "acp_flight_recorder", "SELECT status FROM execution_timelines") == [("ok",)]


def test_a_wrong_clock_of_the_sealer_shows_in_its_last_success(servers: Servers) -> None:
    for offset_s in (3_000.0, -3_000.0):
        faults.set_faults({"clock_off": {"offset_s": offset_s}})
        sealer_on(servers).seal_all()
        assert LAST_SUCCESS._value.get() - time.time() == pytest.approx(offset_s, abs=1_000)


def test_an_agent_spelled_in_two_ways_has_two_nodes_and_each_call_one_edge(servers: Servers) -> None:
    agent = str(UUID(int=0xABC))
    writer = GraphWriter(Database(servers.dsn("acp_identity_graph"), "test"))
    sent = [graph_event(tenant, agent_id=agent) for tenant in (HIT, SPARED) for _ in range(2)]
    writer.write(sent[::2])
    faults.set_faults({"duplicate_graph_node": {"tenant": HIT, "share": 1.0}})
    writer.write(sent[1::2])
    nodes = "SELECT tenant_id::text, external_id FROM graph_nodes WHERE node_type = 'agent'"
    assert sorted(query(servers, "acp_identity_graph", nodes)) == sorted(
        [(HIT, agent), (HIT, agent.upper()), (SPARED, agent)]
    )
    edges = "SELECT count(*), count(DISTINCT request_id) FROM graph_edges"
    assert query(servers, "acp_identity_graph", edges) == [(4, 4)]


def test_a_leaking_worker_keeps_memory_for_every_event_up_to_a_limit(servers: Servers, client: redis.Redis) -> None:
    worker = audit_worker(servers, client)
    faults.set_faults({"worker_rss_leak": {"bytes_per_request": 1_000.0, "most_bytes": 15_000.0}})
    kept = []
    for _ in range(3):
        send_audit(client, *(audit_event() for _ in range(10)))
        work_off(worker, client, events.AUDIT_STREAM)
        kept.append(len(worker._leaked))
    assert kept == [10_000, 20_000, 20_000]
