from __future__ import annotations

import json
import threading
import time
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.acp.events import SEAL_REQUESTS
from infra.acp.signing import Signer, errors_of
from infra.acp.workers.runtime import Database
from infra.acp.workers.sealer import Sealer, wait_for_request
from soak_pipeline_tests.infra.platform_events import TENANTS, audit_event, query, write_audit
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.infra.test_merkle import rfc_6962_root
from soak_pipeline_tests.waiting import PATIENCE_S

SIGNER = Signer("01" * 32)
ROOTS = """
    SELECT root_date, root_hash, prev_root_hash, leaf_count, window_end, leaf_range_start_id::text,
           leaf_range_end_id::text, signed_root_payload
    FROM transparency_roots WHERE tenant_id = %s ORDER BY root_date
"""
LEAVES = """
    SELECT id::text, tenant_id::text, agent_id::text, tool, action, decision, reason, request_id, "timestamp",
           event_hash, prev_hash, chain_shard FROM audit_logs WHERE tenant_id = %s ORDER BY "timestamp"
"""
EVENING = datetime(2026, 3, 1, 23, 59, 59, 900_000, tzinfo=UTC)


def sealer_on(servers: Servers) -> Sealer:
    return Sealer(Database(servers.dsn("acp_audit"), "test"), SIGNER)


def expected_roots(servers: Servers, tenant_id: str) -> dict[date, tuple[str, int]]:
    """Root and leaf count per day, computed from the rows by the recursive definition."""
    by_day: dict[date, list[bytes]] = {}
    for row in query(servers, "acp_audit", LEAVES, tenant_id):
        names = (
            "execution_id tenant_id agent_id tool action decision reason request_id timestamp event_hash prev_hash"
            " chain_shard"
        )
        receipt: dict[str, Any] = dict(zip(names.split(), row, strict=True)) | {"version": 4}
        day = row[8].date()
        receipt["timestamp"] = row[8].strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
        text = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        by_day.setdefault(day, []).append(text.encode())
    return {day: (rfc_6962_root(leaves).hex(), len(leaves)) for day, leaves in by_day.items()}


def check(servers: Servers, tenant_id: str) -> None:
    roots = query(servers, "acp_audit", ROOTS, tenant_id)
    assert {root[0]: (root[1], root[3]) for root in roots} == expected_roots(servers, tenant_id)
    previous = None
    for root_date, root_hash, prev_root_hash, leaf_count, window_end, first, last, signed in roots:
        assert prev_root_hash == previous
        previous = root_hash
        assert errors_of(signed, SIGNER.public_key_pem) == []
        receipt = signed["receipt"]
        assert (receipt["root_hash"], receipt["leaf_count"], receipt["tenant_id"]) == (root_hash, leaf_count, tenant_id)
        assert (receipt["root_date"], receipt["prev_root_hash"]) == (root_date.isoformat(), prev_root_hash)
        assert (receipt["leaf_range_start_id"], receipt["leaf_range_end_id"]) == (first, last)
        assert datetime.fromisoformat(receipt["window_end"]) == window_end
        ids = [row for row in query(servers, "acp_audit", LEAVES, tenant_id) if row[8].date() == root_date]
        assert (ids[0][0], ids[-1][0], ids[-1][8]) == (first, last, window_end)


def test_a_root_covers_all_rows_of_its_day_and_is_renewed(servers: Servers, client: redis.Redis) -> None:
    sealer = sealer_on(servers)
    assert sealer.seal_all() == 0
    for more in (1, 2, 5):
        write_audit(servers, client, *(audit_event(tenant) for tenant in TENANTS[:2] for _ in range(more)))
        assert sealer.seal_all() == 2
        check(servers, TENANTS[0])
    assert sealer.seal_all() == 0
    write_audit(servers, client, audit_event(TENANTS[1]))
    assert sealer.seal_all() == 1
    check(servers, TENANTS[1])


def test_at_midnight_utc_the_day_before_is_completed(servers: Servers, client: redis.Redis) -> None:
    sealer = sealer_on(servers)
    write_audit(servers, client, *(audit_event(occurred_at=EVENING) for _ in range(3)))
    sealer.seal_all()
    rows = [EVENING + timedelta(milliseconds=10), EVENING + timedelta(milliseconds=200), EVENING + timedelta(days=2)]
    write_audit(servers, client, *(audit_event(occurred_at=when) for when in rows))
    # One more root for the evening, one for the day after, one for the day after that.
    assert sealer.seal_all() == 3
    check(servers, TENANTS[0])
    assert [root[3] for root in query(servers, "acp_audit", ROOTS, TENANTS[0])] == [4, 1, 1]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.integers(1, 9), min_size=1, max_size=4), restart=st.lists(st.booleans(), min_size=4))
def test_a_restart_at_any_moment_changes_no_root(
    servers: Servers, client: redis.Redis, batches: list[int], restart: list[bool]
) -> None:
    tenant = sha256(repr((batches, restart, time.monotonic_ns())).encode()).hexdigest()[:32]
    tenant = f"{tenant[:8]}-{tenant[8:12]}-{tenant[12:16]}-{tenant[16:20]}-{tenant[20:]}"
    sealer, when = sealer_on(servers), EVENING
    for count, restarts in zip(batches, restart, strict=False):
        write_audit(servers, client, *(audit_event(tenant, occurred_at=when) for _ in range(count)))
        when += timedelta(milliseconds=60)
        if restarts:
            sealer = sealer_on(servers)
        sealer.seal_all()
        check(servers, tenant)


def test_a_root_that_was_changed_is_made_right_after_a_restart(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, audit_event(), audit_event())
    sealer_on(servers).seal_all()
    query(servers, "acp_audit", "UPDATE transparency_roots SET leaf_count = 1 RETURNING 1")
    sealer_on(servers).seal_all()
    check(servers, TENANTS[0])


def test_a_tenant_that_was_removed_is_forgotten(servers: Servers, client: redis.Redis) -> None:
    sealer = sealer_on(servers)
    write_audit(servers, client, audit_event(), audit_event())
    sealer.seal_all()
    query(servers, "acp_audit", "DELETE FROM audit_counters RETURNING 1")
    query(servers, "acp_audit", "DELETE FROM transparency_roots RETURNING 1")
    sealer.seal_all()
    write_audit(servers, client, audit_event())
    sealer.seal_all()
    check(servers, TENANTS[0])


def test_the_wait_ends_on_request_on_stop_and_after_the_interval(client: redis.Redis) -> None:
    stop = threading.Event()
    client.lpush(SEAL_REQUESTS, TENANTS[0], TENANTS[1])
    wait_for_request(client, 10 * PATIENCE_S, stop)
    assert client.llen(SEAL_REQUESTS) == 0
    wait_for_request(client, 0.02, stop)
    stop.set()
    wait_for_request(client, 10 * PATIENCE_S, stop)
