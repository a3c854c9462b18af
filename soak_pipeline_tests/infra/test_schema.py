from __future__ import annotations

import psycopg
import pytest
import redis

from infra.acp import schema
from soak_pipeline_tests.infra.platform_events import audit_event, query, write_audit
from soak_pipeline_tests.infra.servers import Servers


def test_it_can_be_applied_again_and_keeps_the_rows(servers: Servers, client: redis.Redis) -> None:
    write_audit(servers, client, audit_event())
    schema.apply(servers.dsn)
    assert query(servers, "acp_audit", "SELECT count(*) FROM audit_logs") == [(1,)]


@pytest.mark.parametrize("statement", ["DELETE FROM audit_logs", "UPDATE audit_logs SET decision = 'deny'"])
def test_the_audit_log_is_append_only(servers: Servers, client: redis.Redis, statement: str) -> None:
    write_audit(servers, client, audit_event())
    with psycopg.connect(servers.dsn("acp_audit")) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(statement)
    assert refused.value.sqlstate == "P0001"


def test_a_tenant_has_the_documented_defaults(servers: Servers) -> None:
    columns = "rpm_limit > 0, requests_per_second, burst, daily_request_cap, shadow_mode_until, is_active, tier::text"
    inserted = f"INSERT INTO tenants (org_id, tenant_id) VALUES (%s, %s) RETURNING {columns}"
    tenant = "00000000-0000-0000-0000-00000000000a"
    assert query(servers, "acp_identity", inserted, tenant, tenant) == [
        (True, 50, 100, 1_000_000, None, True, "basic"),
    ]


def test_readers_find_an_index_for_each_of_their_orders(servers: Servers) -> None:
    plans = {
        "acp_audit": [
            "SELECT * FROM audit_logs WHERE tenant_id = $1::uuid ORDER BY chain_sequence DESC LIMIT 50",
            'SELECT * FROM audit_logs WHERE tenant_id = $1::uuid AND "timestamp" > now() ORDER BY "timestamp"',
            "SELECT * FROM audit_logs WHERE request_id = $1",
        ],
        "acp_usage": ['SELECT * FROM usage_records WHERE tenant_id = $1::uuid ORDER BY "timestamp" DESC LIMIT 50'],
        "acp_flight_recorder": [
            "SELECT * FROM execution_timelines WHERE tenant_id = $1::uuid ORDER BY started_at DESC LIMIT 100",
            "SELECT * FROM execution_timelines WHERE status = 'in_progress' AND started_at < now() AND $1 = $1",
        ],
        "acp_identity_graph": ["SELECT * FROM graph_edges WHERE src_node_id = $1::uuid ORDER BY id DESC LIMIT 10"],
    }
    for database, statements in plans.items():
        with psycopg.connect(servers.dsn(database), options="-c enable_seqscan=off -c enable_sort=off") as connection:
            for statement in statements:
                bound = statement.replace("$1", "'00000000-0000-0000-0000-00000000000a'")
                plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {bound}").fetchall())
                assert "Seq Scan" not in plan, plan
                assert "Sort" not in plan, plan
