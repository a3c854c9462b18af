"""Timelines, graph, queues, drain and cleaning, on real PostgreSQL, Valkey and Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import pytest
import redis

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.stage_outputs import GraphEvidence, TimelineEvidence
from soak_pipeline.target.clean import clean_run
from soak_pipeline.target.drain import wait_for_drain, wait_for_roots
from soak_pipeline.target.graph import read_graph
from soak_pipeline.target.queues import read_backlog, read_dead_letters
from soak_pipeline.target.timelines import read_timelines
from soak_pipeline_tests.target import examples, rows
from soak_pipeline_tests.target.rows import calls, chain
from soak_pipeline_tests.waiting import PATIENCE_S

pytestmark = pytest.mark.every_redis

PLAN = examples.plan()
TENANT, OTHER = PLAN.tenants[1], PLAN.tenants[2]
AGENTS = [f"aaaaaaaa-0000-4000-8000-{index:012d}" for index in range(3)]
REQUESTS = [f"bbbbbbbb-0000-4000-8000-{index:012d}" for index in range(4)]
Dsns = dict[str, str]


def _timeline(dsns: Dsns, tenant_id: str, status: str) -> None:
    with psycopg.connect(dsns["flight_recorder"]) as connection:
        connection.execute(
            "INSERT INTO execution_timelines (id, org_id, tenant_id, request_id, status)"
            " VALUES (gen_random_uuid(), %s, %s, gen_random_uuid()::text, %s)",
            [tenant_id, tenant_id, status],
        )


def _pending(dsns: Dsns, tenant_id: str) -> None:
    with psycopg.connect(dsns["audit"]) as connection:
        connection.execute(
            "INSERT INTO pending_usage_events (org_id, tenant_id, audit_id, occurred_at)"
            " VALUES (%s, %s, gen_random_uuid(), now())",
            [tenant_id, tenant_id],
        )


def test_timelines_are_counted_by_status(dsns: Dsns) -> None:
    for status, count in [("ok", 3), ("failed", 2), ("in_progress", 1), ("recovered_backfill", 2)]:
        for _ in range(count):
            _timeline(dsns, TENANT.tenant_id, status)
    _timeline(dsns, OTHER.tenant_id, "in_progress")
    evidence = read_timelines(examples.resolved(dsns=dsns), TENANT)
    assert evidence == TimelineEvidence(tenant="B", total=8, in_progress=1, recovered_backfill=2)


def test_timelines_that_cannot_be_read_are_unknown() -> None:
    evidence = read_timelines(examples.resolved(), TENANT)
    assert (evidence.total, evidence.in_progress, evidence.recovered_backfill) == (None, None, None)
    assert "flight recorder database" in evidence.reason


def _node(dsns: Dsns, kind: str, external_id: str) -> None:
    with psycopg.connect(dsns["identity_graph"]) as connection:
        connection.execute(
            "INSERT INTO graph_nodes (id, org_id, tenant_id, node_type, external_id, name)"
            " VALUES (gen_random_uuid(), %s, %s, %s, %s, 'x')",
            [TENANT.tenant_id, TENANT.tenant_id, kind, external_id],
        )


def _edge(dsns: Dsns, request_id: str) -> None:
    with psycopg.connect(dsns["identity_graph"]) as connection:
        connection.execute(
            "INSERT INTO graph_edges (org_id, tenant_id, src_node_id, dst_node_id, edge_type, action, outcome,"
            " request_id, occurred_at) VALUES (%s, %s, gen_random_uuid(), gen_random_uuid(), 'invokes', 'execute_tool',"
            " 'allow', %s, now())",
            [TENANT.tenant_id, TENANT.tenant_id, request_id],
        )


def _graph(dsns: Dsns) -> GraphEvidence:
    return read_graph(examples.resolved(dsns=dsns), TENANT, AGENTS, REQUESTS)


def test_a_graph_without_collision(dsns: Dsns) -> None:
    for agent in AGENTS:
        _node(dsns, "agent", agent)
    _node(dsns, "tool", "read_file")
    for request_id in REQUESTS:
        _edge(dsns, request_id)
    assert _graph(dsns) == GraphEvidence(
        tenant="B", agent_nodes=3, expected_agent_nodes=3, duplicate_nodes=0, duplicate_edges=0, missing_edges=0
    )


def test_a_graph_with_every_fault(dsns: Dsns) -> None:
    _node(dsns, "agent", AGENTS[0])
    _node(dsns, "agent", AGENTS[0].upper())
    _node(dsns, "agent", AGENTS[1])
    with psycopg.connect(dsns["identity_graph"], autocommit=True) as connection:
        connection.execute("ALTER TABLE graph_edges DROP CONSTRAINT graph_edges_pkey")
        try:
            for request_id in [REQUESTS[0], REQUESTS[0], REQUESTS[0], REQUESTS[1]]:
                _edge(dsns, request_id)
            assert _graph(dsns) == GraphEvidence(
                tenant="B", agent_nodes=2, expected_agent_nodes=3, duplicate_nodes=1, duplicate_edges=1, missing_edges=2
            )
        finally:
            connection.execute("TRUNCATE graph_edges")
            connection.execute("ALTER TABLE graph_edges ADD PRIMARY KEY (tenant_id, request_id)")


def test_a_graph_that_cannot_be_read_is_unknown() -> None:
    evidence = read_graph(examples.resolved(), TENANT, AGENTS, REQUESTS)
    assert (evidence.agent_nodes, evidence.missing_edges) == (None, None)
    assert "identity graph database" in evidence.reason


def _with_stream(url: str, work: Callable[[redis.Redis], object]) -> None:
    with redis.Redis.from_url(url) as client:
        for number in range(5):
            client.xadd("acp:audit_stream", {"n": str(number)})
        client.xgroup_create("acp:audit_stream", "acp:audit:consumers", id="0")
        work(client)


def test_what_is_read_and_what_is_not_is_backlog(dsns: Dsns, redis_url: str) -> None:
    def read_two(client: redis.Redis) -> None:
        client.xreadgroup("acp:audit:consumers", "c", {"acp:audit_stream": ">"}, count=2)

    _with_stream(redis_url, read_two)
    _pending(dsns, TENANT.tenant_id)
    _pending(dsns, OTHER.tenant_id)
    resolved = examples.resolved(dsns=dsns, redis_url=redis_url)
    assert read_backlog(resolved).left == {"acp:audit_stream": 5, "outbox_pending": 2}
    assert read_backlog(resolved, [TENANT.tenant_id]).left == {"acp:audit_stream": 5, "outbox_pending": 1}
    assert read_backlog(resolved).is_empty is False


def test_a_stream_that_is_worked_off_is_empty_though_its_entries_stay(dsns: Dsns, redis_url: str) -> None:
    def work_off(client: redis.Redis) -> None:
        ((_, entries),) = client.xreadgroup("acp:audit:consumers", "c", {"acp:audit_stream": ">"})  # type: ignore[misc]
        client.xack("acp:audit_stream", "acp:audit:consumers", *(entry for entry, _ in entries))

    _with_stream(redis_url, work_off)
    backlog = read_backlog(examples.resolved(dsns=dsns, redis_url=redis_url))
    assert backlog.left == {"acp:audit_stream": 0, "outbox_pending": 0}
    assert backlog.is_empty is True


@pytest.mark.parametrize("more", [0, 1, 499, 600])
def test_unread_entries_are_told_from_handled_ones_that_stay(dsns: Dsns, redis_url: str, more: int) -> None:
    def work_off(client: redis.Redis) -> None:
        ((_, entries),) = client.xreadgroup("acp:audit:consumers", "c", {"acp:audit_stream": ">"})  # type: ignore[misc]
        client.xack("acp:audit_stream", "acp:audit:consumers", *(entry for entry, _ in entries))
        for _ in range(more):
            client.xadd("acp:audit_stream", {"n": "unread"})

    _with_stream(redis_url, work_off)
    with redis.Redis.from_url(redis_url) as client:
        info: Any = client.info()
    is_counted = int(info["redis_version"].split(".")[0]) >= 7
    left = read_backlog(examples.resolved(dsns=dsns, redis_url=redis_url)).left["acp:audit_stream"]
    assert left == (more if is_counted or more < 500 else 605)


def test_the_backlog_is_right_though_handled_entries_were_deleted_out_of_order(dsns: Dsns, redis_url: str) -> None:
    """A server may then know no lag; what it says and what is counted must agree."""
    stream, group = "acp:audit_stream", "acp:audit:consumers"
    with redis.Redis.from_url(redis_url) as client:
        client.xgroup_create(stream, group, id="0", mkstream=True)
        for number in range(40):
            client.xadd(stream, {"n": str(number)})
            if number % 3 == 2:
                ((_, read),) = client.xreadgroup(group, "c", {stream: ">"}, count=2)  # type: ignore[misc]
                client.xack(stream, group, read[1][0])
                client.xdel(stream, read[1][0])
            sent, delivered, acknowledged = number + 1, 2 * ((number + 1) // 3), (number + 1) // 3
            left = read_backlog(examples.resolved(dsns=dsns, redis_url=redis_url)).left[stream]
            assert left == (sent - delivered) + (delivered - acknowledged)


def test_a_stream_without_its_group_is_all_backlog(dsns: Dsns, redis_url: str) -> None:
    _with_stream(redis_url, lambda client: client.xgroup_destroy("acp:audit_stream", "acp:audit:consumers"))
    assert read_backlog(examples.resolved(dsns=dsns, redis_url=redis_url)).left["acp:audit_stream"] == 5


def test_a_backlog_that_cannot_be_seen_is_unknown(dsns: Dsns) -> None:
    backlog = read_backlog(examples.resolved(dsns=dsns))
    assert backlog.is_empty is None
    assert "Redis" in backlog.reason
    gone = read_backlog(examples.resolved(redis_url="redis://:secret-6@127.0.0.1:1/0"))
    assert gone.is_empty is None
    assert "secret-6" not in gone.reason


def test_dead_letters_are_counted_whatever_holds_them(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.xadd("acp:audit_stream:dlq", {"error": "x"})
        client.rpush("acp:billing_dlq", "a", "b")
    lengths = read_dead_letters(examples.resolved(redis_url=redis_url))
    assert lengths == {
        **dict.fromkeys(nominal.DIALECT.queues.dead_letters, 0),
        "acp:audit_stream:dlq": 1,
        "acp:billing_dlq": 2,
    }
    assert read_dead_letters(examples.resolved()) is None


def test_a_drain_ends_when_everything_is_worked_off(dsns: Dsns, redis_url: str) -> None:
    _pending(dsns, TENANT.tenant_id)
    resolved = examples.resolved(dsns=dsns, redis_url=redis_url)

    def empty_after_the_first_look(backlog: object) -> None:
        with psycopg.connect(dsns["audit"]) as connection:
            connection.execute("TRUNCATE pending_usage_events")

    drain = wait_for_drain(
        resolved, PLAN, load_stopped_unix_s=time.time() - 5, timeout_s=PATIENCE_S, on_poll=empty_after_the_first_look
    )
    assert drain.drained is True
    assert drain.left == {"outbox_pending": 0}
    assert drain.seconds >= 5


def test_a_drain_that_takes_too_long_says_what_is_left(dsns: Dsns, redis_url: str) -> None:
    _pending(dsns, TENANT.tenant_id)
    drain = wait_for_drain(
        examples.resolved(dsns=dsns, redis_url=redis_url), PLAN, load_stopped_unix_s=time.time(), timeout_s=0.1
    )
    assert (drain.drained, drain.left) == (False, {"outbox_pending": 1})
    assert drain.found == {"outbox_pending": 1}


def test_a_drain_that_cannot_be_seen_is_not_waited_for() -> None:
    drain = wait_for_drain(examples.resolved(), PLAN, load_stopped_unix_s=time.time(), timeout_s=PATIENCE_S)
    assert drain.drained is None
    assert "Redis" in drain.reason


def test_roots_are_waited_for_until_they_reach_the_last_row(dsns: Dsns) -> None:
    resolved = examples.resolved(dsns=dsns)
    assert wait_for_roots(resolved, PLAN, timeout_s=0) == 0
    audit = chain(TENANT.tenant_id, calls(3))
    rows.insert_audit(dsns["audit"], TENANT.tenant_id, audit)
    assert wait_for_roots(resolved, PLAN, timeout_s=0) == 1
    for row, unsealed in [(audit[1], 1), (audit[2], 0)]:
        with psycopg.connect(dsns["audit"]) as connection:
            connection.execute(
                "INSERT INTO transparency_roots VALUES (%s, '2026-11-23', repeat('0', 64), NULL, 2,"
                " jsonb_build_object('receipt', jsonb_build_object('window_end', %s::text)), %s, %s, %s,"
                " repeat('0', 64))"
                " ON CONFLICT (tenant_id, root_date) DO UPDATE SET signed_root_payload = excluded.signed_root_payload",
                [TENANT.tenant_id, row.timestamp, row.row_id, row.row_id, row.timestamp],
            )
        assert wait_for_roots(resolved, PLAN, timeout_s=0) == unsealed
    assert wait_for_roots(examples.resolved(), PLAN, timeout_s=0) is None


def _tenant(dsns: Dsns, tenant_id: str) -> None:
    with psycopg.connect(dsns["identity"]) as connection:
        connection.execute("INSERT INTO tenants (org_id, tenant_id) VALUES (%s, %s)", [tenant_id, tenant_id])
        connection.execute(
            "INSERT INTO users (org_id, tenant_id, email, password_hash) VALUES (%s, %s, %s, 'x')",
            [tenant_id, tenant_id, f"{tenant_id}@soak.example"],
        )


def test_cleaning_removes_the_runs_rows_and_nobody_elses(dsns: Dsns, redis_url: str) -> None:
    stranger = "cccccccc-0000-4000-8000-000000000000"
    for tenant_id in (TENANT.tenant_id, stranger):
        _tenant(dsns, tenant_id)
        _timeline(dsns, tenant_id, "ok")
        _pending(dsns, tenant_id)
        rows.insert_usage(dsns["usage"], tenant_id, [None])
    _node(dsns, "agent", AGENTS[0])
    rows.insert_audit(dsns["audit"], TENANT.tenant_id, chain(TENANT.tenant_id, calls(3)))
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"acp:quota:daily:{TENANT.tenant_id}:2026-11-23", 1)
        client.set(f"acp:quota:daily:{stranger}:2026-11-23", 1)
        resolved = examples.resolved(dsns=dsns, redis_url=redis_url)
        cleaned = clean_run(resolved, PLAN)
        assert client.keys("acp:*") == [f"acp:quota:daily:{stranger}:2026-11-23".encode()]
    assert cleaned.problems == ()
    assert {name: count for name, count in cleaned.removed.items() if count} == {
        "identity.tenants": 1,
        "identity.users": 1,
        "usage.usage_records": 1,
        "audit.pending_usage_events": 1,
        "flight_recorder.execution_timelines": 1,
        "identity_graph.graph_nodes": 1,
        "redis": 1,
    }
    assert cleaned.kept == {"audit.audit_logs": 3, "audit.transparency_roots": 0}
    assert sum(clean_run(resolved, PLAN).removed.values()) == 0
    for database, table in [
        ("identity", "tenants"),
        ("usage", "usage_records"),
        ("flight_recorder", "execution_timelines"),
    ]:
        with psycopg.connect(dsns[database]) as connection:
            assert connection.execute(f"SELECT DISTINCT tenant_id::text FROM {table}").fetchall() == [(stranger,)]


@pytest.mark.parametrize("production", [True, None])
def test_only_a_target_that_says_it_is_not_production_is_cleaned(dsns: Dsns, production: bool | None) -> None:
    resolved = examples.resolved(examples.target(production=production), dsns=dsns)
    _tenant(dsns, TENANT.tenant_id)
    with pytest.raises(BadInput, match="production"):
        clean_run(resolved, PLAN)
    with psycopg.connect(dsns["identity"]) as connection:
        assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (1,)


def test_cleaning_says_what_it_could_not_reach(dsns: Dsns) -> None:
    del dsns["usage"]
    dsns["identity"] = "postgresql://acp:secret-4@127.0.0.1:1/x"
    problems = "\n".join(clean_run(examples.resolved(dsns=dsns), PLAN).problems)
    assert "databases.usage; its rows stay" in problems
    assert "databases.identity: " in problems
    assert "Redis" in problems
    assert "secret-4" not in problems


def test_evidence_structs_survive_json() -> None:
    evidence = GraphEvidence(tenant="B", reason="x")
    assert msgspec.json.decode(msgspec.json.encode(evidence), type=GraphEvidence) == evidence
