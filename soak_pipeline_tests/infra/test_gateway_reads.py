"""The read endpoints say what the workers wrote, at a cost that does not grow, and verification cannot be soothed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import redis

from infra.acp import events
from infra.acp.gateway import verify
from infra.acp.gateway.rollup import Rollups
from soak_pipeline_tests.infra.gateway_client import GatewayUnderTest, TestTenant, gateway, with_gateway
from soak_pipeline_tests.infra.platform_events import (
    audit_event as sent_event,
)
from soak_pipeline_tests.infra.platform_events import (
    audit_worker,
    flight_worker,
    graph_worker,
    query,
    tamper,
    work_off,
    write_audit,
)
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.waiting import PATIENCE_S


def write_all(servers: Servers, client: redis.Redis) -> None:
    """Let the workers write what the gateway has sent."""
    work_off(audit_worker(servers, client), client, events.AUDIT_STREAM)
    work_off(flight_worker(servers, client), client, events.FLIGHT_STREAM)
    work_off(graph_worker(servers, client), client, events.GRAPH_STREAM)


async def written(servers: Servers, client: redis.Redis) -> None:
    await asyncio.to_thread(write_all, servers, client)


def with_calls(
    servers: Servers,
    client: redis.Redis,
    scenario: Callable[[GatewayUnderTest, TestTenant], Awaitable[None]],
) -> None:
    """Run a scenario after a tenant has made three allowed calls and two refused ones, and all is written."""

    async def run(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        for tool in ("read_file", "read_file", "list_dir", "no_such_tool"):
            await opened.execute(tenant, tool)
        await opened.execute(tenant, body={"parameters": {"path": "/etc/passwd"}})
        await written(servers, client)
        await scenario(opened, tenant)

    with_gateway(servers, run)


async def data(opened: GatewayUnderTest, tenant: TestTenant, path: str) -> Any:
    answer = await opened.client.get(path, headers=tenant.headers)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()["data"]


def test_pages_are_newest_first_with_exact_totals(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        page = await data(opened, tenant, "/audit/logs?limit=4")
        # Six rows: the login, three allowed and two refused calls.
        assert (page["total"], page["limit"], page["offset"], len(page["items"])) == (6, 4, 0, 4)
        sequences = [item["chain_sequence"] for item in page["items"]]
        assert sequences == sorted(sequences, reverse=True)
        assert page["items"][0]["prev_hash"] == page["items"][1]["event_hash"]
        rest = await data(opened, tenant, "/audit/logs?limit=4&offset=4")
        assert [item["chain_sequence"] for item in rest["items"]] == [sequences[-1] - 1, sequences[-1] - 2]
        assert (await data(opened, tenant, "/audit/logs?decision=allow"))["total"] == 4
        assert (await data(opened, tenant, "/audit/logs?decision=block&action=execute_tool"))["total"] == 2
        by_agent = await data(opened, tenant, f"/audit/logs?agent_id={tenant.agent_id}&decision=block")
        assert (by_agent["total"], len(by_agent["items"])) == (2, 2)
        assert (await data(opened, tenant, "/audit/logs?offset=100"))["items"] == []

    with_calls(servers, client, scenario)


def test_a_search_finds_by_tool_time_and_metadata(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        async def found(body: dict[str, Any]) -> tuple[int, list[str]]:
            answer = await opened.post("/audit/logs/search", body, 200, tenant.headers)
            return answer["data"]["total"], [item["tool"] for item in answer["data"]["items"]]

        assert await found({"tool": "list_dir"}) == (1, ["list_dir"])
        assert (await found({"start_date": "2020-01-01"}))[0] == 6
        assert await found({"end_date": "2020-01-01"}) == (0, [])
        assert (await found({"metadata_filter": {"status": 403}}))[0] == 2
        assert (await found({"agent_id": tenant.agent_id, "limit": 1}))[0] == 5
        await opened.post("/audit/logs/search", {"limit": 101}, 422, tenant.headers)

    with_calls(servers, client, scenario)


def test_the_summary_counts_every_row_once_and_is_kept_for_a_while(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        summary = await data(opened, tenant, "/audit/logs/summary")
        assert (summary["total_calls"], summary["allowed_requests"], summary["blocked_requests"]) == (6, 4, 2)
        assert (summary["threats_blocked"], summary["most_used_tool"]) == (2, "read_file")
        assert sum(hour["count"] for hour in summary["requests_by_hour"]) == 6
        assert summary["risk_distribution"] == {"low": 3, "medium": 0, "high": 0}
        await opened.execute(tenant)
        await written(servers, client)
        assert await data(opened, tenant, "/audit/logs/summary") == summary
        assert 0 < client.ttl(f"acp:audit_summary:{tenant.tenant_id}:_") <= 30

    with_calls(servers, client, scenario)


def test_a_rollup_reads_only_what_is_new(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        rollups = Rollups(opened.services.pools["audit"], capacity=1)
        rollup = await rollups.current(tenant.tenant_id)
        assert rollup.count() == 6
        await opened.execute(tenant)
        await written(servers, client)
        assert (await rollups.current(tenant.tenant_id)).count() == 6  # not refreshed yet
        rollup.refreshed_at = 0.0
        rollup.counts.clear()
        counted = (await rollups.current(tenant.tenant_id)).count()
        # The execution and the row of nothing else: earlier rows are not read again.
        assert counted == 1

    with_calls(servers, client, scenario)


def test_verification_covers_every_row_and_goes_on_where_it_was(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        first = await data(opened, tenant, "/audit/logs/verify")
        assert first == {
            "tenant_id": tenant.tenant_id,
            "valid": True,
            "is_integrous": True,
            "processed_count": 6,
            "error_count": 0,
            "violations": [],
        }
        await written(servers, client)
        async with gateway(servers) as other:
            again = await data(other, tenant, "/audit/chain/verify")
            assert (again["processed_count"], again["valid"]) == (7, True)
            full = await data(other, tenant, "/audit/logs/verify?full=true")
            assert (full["processed_count"], full["valid"]) == (7, True)

    with_calls(servers, client, scenario)


def test_a_violation_stays_reported_and_one_behind_the_checkpoint_is_found_from_the_genesis(
    servers: Servers, client: redis.Redis
) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        assert (await data(opened, tenant, "/audit/logs/verify"))["valid"]
        newest = "(SELECT max(chain_sequence) FROM audit_logs WHERE tenant_id = %s)"
        change = f"UPDATE audit_logs SET decision = 'allow' WHERE chain_sequence = {newest}"
        await asyncio.to_thread(tamper, servers, change, tenant.tenant_id)
        assert (await data(opened, tenant, "/audit/logs/verify"))["valid"]
        full = await data(opened, tenant, "/audit/logs/verify?full=true")
        assert (full["valid"], full["error_count"], full["violations"][0]["kind"]) == (False, 1, "hash_tamper")
        await written(servers, client)
        later = await data(opened, tenant, "/audit/logs/verify")
        assert (later["valid"], later["error_count"]) == (False, 1)
        assert later["processed_count"] > full["processed_count"]

    with_calls(servers, client, scenario)


def test_verifications_at_once_share_their_work_and_still_see_what_was_there_before_they_asked(
    servers: Servers, client: redis.Redis
) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        verifiers = verify.Verifiers(opened.services.pools["audit"], opened.services.link)
        runs = 0
        original = verifiers._verify_now

        async def counted(tenant_id: str, from_genesis: bool) -> dict[str, Any]:
            nonlocal runs
            runs += 1
            return await original(tenant_id, from_genesis)

        verifiers._verify_now = counted  # type: ignore[method-assign]
        answers = await asyncio.gather(*(verifiers.verify(tenant.tenant_id, from_genesis=False) for _ in range(20)))
        assert {answer["processed_count"] for answer in answers} == {6}
        assert runs == 2  # the one that ran, and one for all who asked meanwhile
        assert not verifiers._running
        assert not verifiers._next

    with_calls(servers, client, scenario)


def test_a_worker_keeps_up_with_chains_that_nobody_asks_for(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        verifiers = verify.Verifiers(opened.services.pools["audit"], opened.services.link)
        task = asyncio.create_task(verifiers.keep_up(interval_s=0.05))
        key = f"acp:audit_verify_checkpoint:{tenant.tenant_id}"
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (kept := await opened.services.link.execute("HGET", key, "position")) is None:
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()
        assert json.loads(kept)["row_count"] == 6

    with_calls(servers, client, scenario)


def test_the_empty_chain_is_valid(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        answer = await data(opened, tenant, "/audit/logs/verify")
        assert (answer["valid"], answer["processed_count"], answer["violations"]) == (True, 0, [])

    with_gateway(servers, scenario)


def test_an_export_streams_the_chain_both_ways(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        bulk = [sent_event(tenant.tenant_id) for _ in range(1200)]
        await asyncio.to_thread(write_audit, servers, client, *bulk)

        async def lines(query_string: str) -> list[dict[str, Any]]:
            answer = await opened.client.get(f"/audit/export?{query_string}", headers=tenant.headers)
            assert answer.headers["content-type"] == "application/x-ndjson"
            assert answer.headers["x-acp-chain-format"] == "ndjson-v1"
            return [json.loads(line) for line in answer.text.splitlines()]

        stored = await asyncio.to_thread(
            query,
            servers,
            "acp_audit",
            "SELECT event_hash FROM audit_logs WHERE tenant_id = %s ORDER BY chain_sequence",
            tenant.tenant_id,
        )
        hashes = [row[0] for row in stored]
        assert len(hashes) == 1206
        assert [line["event_hash"] for line in await lines("limit=100000")] == hashes[::-1]
        forwards = await lines("limit=1100&after_sequence=0")
        assert [line["event_hash"] for line in forwards] == hashes[:1100]
        rest = await lines(f"after_sequence={forwards[-1]['chain_sequence']}")
        # Each export has written a row of its own, which is not in the chain yet.
        assert [line["event_hash"] for line in rest] == hashes[1100:]
        since = forwards[10]["timestamp"].replace("+", "%2B")
        assert len(await lines(f"since={since}")) == 1206 - 10
        assert len(await lines(f"until={since}")) == 10
        assert forwards[1]["metadata"]["risk"] == 0.0

    with_calls(servers, client, scenario)


def test_timelines_and_the_graph_show_each_call_once(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        listed = await data(opened, tenant, "/flight/timelines")
        assert sorted((item["status"], item["final_decision"]) for item in listed) == [
            ("failed", "block"),
            ("failed", "block"),
            ("ok", "allow"),
            ("ok", "allow"),
            ("ok", "allow"),
        ]
        assert await data(opened, tenant, "/flight/timelines?status=in_progress") == []
        assert len(await data(opened, tenant, "/flight/timelines?status=ok&tool=list_dir&minutes=5")) == 1
        detail = await data(opened, tenant, f"/flight/timeline/by-request/{listed[0]['request_id']}")
        assert detail["timeline"]["id"] == listed[0]["id"]
        assert len(detail["steps"]) == 1
        missing = await opened.client.get("/flight/timeline/by-request/none", headers=tenant.headers)
        assert missing.status_code == 404

        (node,) = await data(opened, tenant, "/graph/agents")
        assert (node["external_id"], node["name"]) == (tenant.agent_id, "agent-one")
        agent = await data(opened, tenant, f"/graph/agent/{tenant.agent_id}")
        assert sorted((edge["tool"], edge["outcome"]) for edge in agent["edges"]) == [
            ("list_dir", "allow"),
            ("no_such_tool", "deny"),
            ("read_file", "allow"),
            ("read_file", "allow"),
            ("read_file", "deny"),
        ]

    with_calls(servers, client, scenario)


def test_quota_health_and_status_answer(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        quota = (await opened.client.get("/tenant/quota", headers=tenant.headers)).json()
        assert quota["limits"]["rpm_limit"] == 100_000
        assert quota["usage"]["daily_used"] == 6  # five calls and this one
        assert (await opened.client.get("/health")).json()["status"] == "healthy"
        await opened.execute(tenant)
        health = (await opened.client.get("/system/health")).json()
        assert health["queues"]["audit_stream_length"] == 2
        # Of the whole platform: the tenant's five executions and the administrator's five calls; logins are free.
        assert health["queues"]["outbox_pending"] == 10
        assert health["status"] == "operational"
        status = (await opened.client.get("/status")).json()
        assert status["latency"]["request_count"] >= 7
        assert status["services"]["unreachable"] == 0

    with_calls(servers, client, scenario)


def test_a_database_that_drops_its_connections_costs_no_more_than_a_retry(
    servers: Servers, client: redis.Redis
) -> None:
    async def scenario(opened: GatewayUnderTest, tenant: TestTenant) -> None:
        drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'acp' AND pid <> %s"
        await asyncio.to_thread(query, servers, "acp_audit", drop, 0)
        statuses = set()
        for _ in range(20):
            statuses.add((await opened.client.get("/audit/logs", headers=tenant.headers)).status_code)
        assert statuses <= {200, 503}
        assert (await opened.client.get("/audit/logs", headers=tenant.headers)).status_code == 200
        assert (await opened.execute(tenant)).status_code == 200

    with_calls(servers, client, scenario)


def test_metrics_ask_for_their_secret_and_say_when_nobody_renders_them(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> list[int]:
        given = ({}, {"X-Prometheus-Secret": "wrong"}, {"X-Prometheus-Secret": "right"})
        return [(await opened.client.get("/metrics", headers=headers)).status_code for headers in given]

    assert with_gateway(servers, scenario, prometheus_secret="right") == [401, 401, 503]


def test_reads_that_wait_for_the_database_take_no_slot_from_executions(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        read_slots = opened.services.read_slots
        held = 0
        while read_slots.try_acquire("somebody else"):
            held += 1
        reads = [asyncio.create_task(opened.client.get("/audit/logs/verify", headers=tenant.headers)) for _ in range(8)]
        while read_slots.waiting < len(reads):
            await asyncio.sleep(0.01)
        assert (await opened.execute(tenant)).status_code == 200
        assert not any(read.done() for read in reads)
        for _ in range(held):
            read_slots.release("somebody else")
        assert {answer.status_code for answer in await asyncio.gather(*reads)} == {200}

    with_gateway(servers, scenario, gateway_slots=2)
