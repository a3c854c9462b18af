"""What each fault of the gateway does, on a real worker with real stores; with none set nothing of it happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import redis

from infra.acp import clock, events, faults
from infra.acp.admin import TenantNames
from infra.acp.gateway import app, defects
from infra.acp.gateway.http import Request, Response, send_response
from infra.acp.gateway.tokens import InvalidToken, Principal
from soak_pipeline_tests.infra.gateway_client import USER_PASSWORD, GatewayUnderTest, TestTenant, with_gateway
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.infra.test_gateway_http_protocol import serving
from soak_pipeline_tests.waiting import PATIENCE_S

ATTACK = {"parameters": {"path": "/etc/passwd"}}
Scenario = Callable[[GatewayUnderTest], Awaitable[None]]


@pytest.fixture(autouse=True)
def none_set() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


def turn_on(name: str, **parameters: Any) -> None:
    faults.set_faults({name: parameters})


def streamed(client: redis.Redis, stream: str, decode: Callable[[Any], Any]) -> list[Any]:
    entries: Any = client.xrange(stream)
    return [decode(fields) for _, fields in entries]


def audited(client: redis.Redis) -> list[events.AuditEvent]:
    return [event for event in streamed(client, events.AUDIT_STREAM, events.decode_audit) if event.tool == "read_file"]


async def named(opened: GatewayUnderTest, name: str) -> TestTenant:
    return await opened.tenant(name=name)


async def statuses(opened: GatewayUnderTest, tenant: TestTenant, count: int) -> list[int]:
    return [(await opened.execute(tenant)).status_code for _ in range(count)]


def test_a_fault_of_one_tenant_finds_it_by_a_fragment_of_its_name(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        quiet, other = await named(opened, "soak 1 tenant C"), await named(opened, "soak 1 tenant A")
        turn_on("throttle_storm", share=1.0)
        names = TenantNames(opened.services.settings.identity_dsn)
        names.refresh()
        names.close()
        answer = await opened.execute(quiet)
        assert (answer.status_code, answer.json()["limit_type"]) == (429, "rps")
        assert int(answer.headers["retry-after"]) == 1
        assert (await opened.execute(other)).status_code == 200
        faults.clear("throttle_storm")
        assert (await opened.execute(quiet)).status_code == 200

    with_gateway(servers, scenario)


def test_an_unreachable_database_leaves_the_tenants_as_they_were_known() -> None:
    turn_on("throttle_storm")
    fault = faults.all_set()["throttle_storm"]
    fault.learn_tenants({"id": "Tenant C"})
    TenantNames("postgresql://127.0.0.1:1/acp_identity").refresh()
    assert fault.concerns("id")


def test_latency_rises_by_a_step_for_one_tenant_and_drifts_for_all(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant, other = await named(opened, "tenant B"), await named(opened, "tenant A")

        async def took_s(of: TestTenant) -> float:
            began = time.perf_counter()
            assert (await opened.execute(of)).status_code == 200
            return time.perf_counter() - began

        turn_on("latency_step", tenant=tenant.tenant_id, share=1.0, latency_ms=2_000)
        assert await took_s(tenant) >= 2.0
        other_s = min([await took_s(other) for _ in range(5)])
        assert other_s < 2.0
        faults.clear()
        turn_on("latency_drift", ms_per_minute=500, set_at=time.time() - 240)
        assert await took_s(other) >= 2.0
        faults.clear()
        assert min([await took_s(tenant) for _ in range(5)]) < 2.0

    with_gateway(servers, scenario)


def test_without_fair_sharing_a_bursting_tenant_takes_every_slot(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        noisy = await named(opened, "tenant A")
        quiet = await opened.tenant(requests_per_second=1, burst=1)
        assert (await statuses(opened, quiet, 2))[1] == 429

        async def quiet_among_a_burst() -> int:
            """How many calls of the burst were answered before the quiet tenant's, which came last."""
            answered: list[str] = []

            async def call(of: TestTenant) -> None:
                await opened.execute(of)
                answered.append(of.tenant_id)

            burst = [asyncio.create_task(call(noisy)) for _ in range(30)]
            await asyncio.sleep(0)
            await asyncio.gather(asyncio.create_task(call(quiet)), *burst)
            return answered.index(quiet.tenant_id)

        before = await quiet_among_a_burst()
        turn_on("fair_sharing_off", slots=1)
        assert await quiet_among_a_burst() >= 29 > before
        # Nobody has a limit per second any more, and a blocked tenant stays blocked.
        assert await statuses(opened, quiet, 5) == [200] * 5
        await opened.post("/auth/tenants", {"tenant_id": quiet.tenant_id, "rpm_limit": 0}, 201)
        assert await statuses(opened, quiet, 1) == [429]

    with_gateway(servers, scenario, gateway_slots=8, service_time_median_ms=10.0, service_time_sigma=0.0)


def test_without_fair_sharing_a_tenants_own_queue_is_bounded_all_the_same(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        noisy = await named(opened, "tenant A")
        quiet = await opened.tenant()
        turn_on("fair_sharing_off", slots=1)
        burst = [asyncio.create_task(opened.execute(noisy)) for _ in range(20)]
        await asyncio.sleep(0)
        assert (await opened.execute(quiet)).status_code == 200
        answers = [(await call).status_code for call in burst]
        # One runs and five wait; the others are refused.
        assert answers.count(200) == 6
        assert answers.count(429) == 14

    limits = {"gateway_slots": 8, "gateway_queue_per_tenant": 5}
    with_gateway(servers, scenario, service_time_median_ms=50.0, service_time_sigma=0.0, **limits)


def test_slow_reads_are_reads_of_rows_of_that_tenant_alone(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    delays_s: list[float] = []
    monkeypatch.setattr(app, "read_delay_s", lambda request: delays_s.append(defects.read_delay_s(request)) or 0.0)

    async def scenario(opened: GatewayUnderTest) -> None:
        tenant, other = await named(opened, "tenant A"), await opened.tenant()
        turn_on("reads_slow", tenant=tenant.tenant_id, latency_ms=400, share=1.0)
        for path in ("/audit/logs", "/audit/logs/verify", "/usage/summary"):
            await opened.client.get(path, headers=tenant.headers)
        await opened.client.get("/audit/logs", headers=other.headers)
        assert (await opened.execute(tenant)).status_code == 200

    with_gateway(servers, scenario)
    assert delays_s == [0.4, 0.4, 0.4, 0.0]


def test_a_paused_gateway_answers_nobody_until_the_pause_is_over(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        # The pause began half a second ago and lasts a second.
        turn_on("gateway_paused", every_s=100, burst_s=1, set_at=time.time() - 99.5)
        due = time.time() + 0.4
        assert (await opened.execute(tenant)).status_code == 200
        assert time.time() >= due

    with_gateway(servers, scenario)


def test_leaks_grow_with_the_requests_up_to_their_bound_and_end_with_their_fault(
    servers: Servers, client: redis.Redis
) -> None:
    def connections() -> int:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leaking'"
        with psycopg.connect(servers.dsn("postgres")) as connection:
            return int(connection.execute(statement).fetchall()[0][0])

    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        # With every connection open that the test and a nominal call need.
        assert await statuses(opened, tenant, 1) == [200]
        assert seen_without_expiry(client) == 0
        files_before, open_before = open_files(), connections()
        kept = opened.gateway.defects
        turn_on("gateway_rss_leak", bytes_per_request=1_000, most_bytes=4_500)
        turn_on("gateway_fd_leak", per_requests=2, most=3)
        turn_on("db_connection_leak", per_requests=4, most=2)
        turn_on("redis_keys_without_ttl")
        turn_on("retries_accumulating", share_per_minute=0.5, set_at=time.time() - 300)
        assert await statuses(opened, tenant, 12) == [200] * 12
        assert sum(len(item) for item in kept._kept_bytes) >= 4 * 1_000
        assert len(kept._kept_bytes) == 4
        assert seen_without_expiry(client) == 12
        assert opened.services.link.reopenings == 12
        await asyncio.gather(*kept._connecting)
        assert connections() == open_before + 2
        # Three files, and the sockets of the two connections.
        assert open_files() == files_before + 3 + 2
        faults.clear()
        kept.give_back()
        assert not kept._kept_bytes
        await asyncio.sleep(0.01)
        assert open_files() == files_before
        assert await statuses(opened, tenant, 3) == [200] * 3
        assert opened.services.link.reopenings == 12
        assert seen_without_expiry(client) == 12

    with_gateway(servers, scenario, process_name="leaking")


def seen_without_expiry(client: redis.Redis) -> int:
    keys: Any = client.keys("acp:request:seen:*")
    return sum(1 for key in keys if client.ttl(key) == -1)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_retries_become_more_frequent_from_minute_to_minute() -> None:
    turn_on("retries_accumulating", share_per_minute=0.1, set_at=time.time() - 180)
    fault = faults.active("retries_accumulating")
    assert fault is not None
    assert defects.growing_share(fault) == pytest.approx(0.3, abs=0.01)
    turn_on("retries_accumulating", share_per_minute=0.1, set_at=time.time() - 86_400)
    old = faults.active("retries_accumulating")
    assert old is not None
    assert defects.growing_share(old) == 1.0


def test_a_removed_permission_stays_though_the_removal_is_answered_as_done(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        headers = {**opened.admin, "X-Tenant-ID": tenant.tenant_id}
        path = f"/agents/{tenant.agent_id}/permissions"
        rules = {row["tool_name"]: row["id"] for row in (await opened.client.get(path, headers=headers)).json()["data"]}
        turn_on("revoke_not_honoured")
        assert (await opened.client.delete(f"{path}/{rules['read_file']}", headers=headers)).status_code == 200
        assert await statuses(opened, tenant, 1) == [200]
        assert (await opened.client.delete(f"{path}/{uuid.uuid4()}", headers=headers)).status_code == 404
        faults.clear()
        assert (await opened.client.delete(f"{path}/{rules['read_file']}", headers=headers)).status_code == 200
        assert await statuses(opened, tenant, 1) == [403]

    with_gateway(servers, scenario)


def test_an_attack_is_executed_and_an_allowed_call_refused(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        assert (await opened.execute(tenant, body=ATTACK)).status_code == 403
        turn_on("attack_allowed", share=1.0)
        assert (await opened.execute(tenant, body=ATTACK)).status_code == 200
        faults.clear()
        turn_on("allowed_denied", share=1.0)
        refused = await opened.execute(tenant)
        assert (refused.status_code, refused.json()["reason"]) == (403, "tool_not_allowed")
        assert [event.decision for event in audited(client)] == ["block", "throttle", "block"]

    with_gateway(servers, scenario)


def test_errors_come_in_bursts_and_leave_no_row(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        turn_on("errors_5xx", share=1.0, every_s=1_000, burst_s=100, set_at=time.time() - 950)
        assert await statuses(opened, tenant, 2) == [500, 500]
        turn_on("errors_5xx", share=1.0, every_s=1_000, burst_s=100, set_at=time.time() - 500)
        assert await statuses(opened, tenant, 2) == [200, 200]
        assert len(audited(client)) == 2

    with_gateway(servers, scenario)


def test_a_token_expires_long_before_it_says(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant, other = await opened.tenant(), await opened.tenant()
        short_lived = {"tokens_expire_early": {"tenant": tenant.tenant_id, "life_s": 600.0}}
        faults.set_faults(short_lived)
        login = {"email": tenant.email, "password": USER_PASSWORD}
        answer = (await opened.client.post("/auth/token", json=login)).json()["data"]
        short = TestTenant(tenant.tenant_id, tenant.email, tenant.agent_id, answer["access_token"])
        assert answer["expires_in"] == 900
        assert await statuses(opened, short, 1) == [200]
        # Ten minutes pass on the platform's own clock, and the token says fifteen.
        faults.set_faults({**short_lived, "clock_off": {"offset_s": 601.0}})
        assert await statuses(opened, short, 1) == [401]
        assert await statuses(opened, other, 1) == [200]
        faults.clear()
        assert await statuses(opened, short, 1) == [200]

    with_gateway(servers, scenario)


def test_bodies_are_spoilt_on_their_way_out(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        turn_on("malformed_bodies", share=1.0)
        malformed = await opened.execute(tenant)
        assert malformed.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            malformed.json()
        assert int(malformed.headers["content-length"]) == len(malformed.content)
        faults.clear()
        turn_on("truncated_bodies", share=1.0)
        truncated = await opened.execute(tenant)
        assert truncated.status_code == 200
        assert int(truncated.headers["content-length"]) // 2 == len(truncated.content)
        # What nobody is signed in for stays whole.
        assert (await opened.client.get("/health")).json()["status"] == "healthy"
        assert len(audited(client)) == 2

    with_gateway(servers, scenario)


def test_a_limit_of_zero_blocks_nobody(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant, other = await opened.tenant(), await opened.tenant()
        turn_on("rpm_zero_ignored", tenant=tenant.tenant_id)
        for blocked in (tenant, other):
            await opened.post("/auth/tenants", {"tenant_id": blocked.tenant_id, "rpm_limit": 0}, 201)
        assert await statuses(opened, tenant, 2) == [200, 200]
        assert await statuses(opened, other, 1) == [429]
        faults.clear()
        await opened.post("/auth/tenants", {"tenant_id": tenant.tenant_id, "rpm_limit": 0}, 201)
        assert await statuses(opened, tenant, 1) == [429]

    with_gateway(servers, scenario)


def test_the_metrics_are_gone(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        turn_on("metrics_gone")
        answer = await opened.client.get("/metrics")
        assert (answer.status_code, answer.json()["error"]) == (503, "Service unavailable")
        assert (await opened.client.get("/health")).status_code == 200

    with_gateway(servers, scenario)


def test_a_wrong_clock_is_in_rows_and_tokens(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        old = await opened.tenant()
        turn_on("clock_off", offset_s=600)
        fast = await opened.tenant()
        assert await statuses(opened, old, 1) == [200]
        assert await statuses(opened, fast, 1) == [200]
        ahead = [event.occurred_at - datetime.now(UTC) for event in audited(client)]
        assert all(timedelta(seconds=300) < difference <= timedelta(seconds=600) for difference in ahead)
        expires_at = opened.services.tokens.check(fast.token).expires_at
        assert time.time() + 1_200 < expires_at <= time.time() + 1_500
        # By this clock the old token has run out.
        turn_on("clock_off", offset_s=901)
        with pytest.raises(InvalidToken, match="expired"):
            opened.services.tokens.check(old.token)
        faults.clear()
        assert abs(clock.now_s() - time.time()) < 5
        assert await statuses(opened, old, 1) == [200]

    with_gateway(servers, scenario)


def test_an_executed_call_is_not_told_to_the_audit(servers: Servers, client: redis.Redis) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        turn_on("audit_event_dropped", share=1.0)
        assert await statuses(opened, tenant, 2) == [200, 200]
        assert audited(client) == []
        timelines = streamed(client, events.FLIGHT_STREAM, events.decode_flight)
        assert [event.status for event in timelines] == ["in_progress", "ok"] * 2
        faults.clear()
        assert await statuses(opened, tenant, 1) == [200]
        assert len(audited(client)) == 1

    with_gateway(servers, scenario)


def test_a_process_dies_with_a_timeline_open(
    servers: Servers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[tuple[int, int]] = []

    def die(pid: int, number: int) -> None:
        died.append((pid, number))
        # What is left of the process is what its stores have.
        timelines = streamed(client, events.FLIGHT_STREAM, events.decode_flight)
        assert timelines[-1].status == "in_progress"

    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        turn_on("gateway_killed", process="another", every_s=0.1)
        await statuses(opened, tenant, 1)
        await asyncio.sleep(0.15)
        await statuses(opened, tenant, 1)
        assert died == []
        turn_on("gateway_killed", process="gateway-7", every_s=0.1)
        await statuses(opened, tenant, 1)
        assert died == []
        await asyncio.sleep(0.15)
        await statuses(opened, tenant, 1)
        assert died == [(os.getpid(), signal.SIGKILL)]

    monkeypatch.setattr(defects.os, "kill", die)  # type: ignore[attr-defined]
    with_gateway(servers, scenario, process_name="gateway-7")


def test_with_no_fault_set_an_answer_is_what_it_is(servers: Servers) -> None:
    async def scenario(opened: GatewayUnderTest) -> None:
        tenant = await opened.tenant()
        assert await statuses(opened, tenant, 20) == [200] * 20
        assert opened.gateway.defects.slots() is opened.services.slots

        async def unexpected(*_: object) -> Response:
            raise AssertionError("no fault is set")

        opened.gateway.defects.before_answer = unexpected  # type: ignore[method-assign, assignment]
        answer = await opened.execute(tenant)
        assert answer.json()["success"] is True
        turn_on("metrics_gone")
        with pytest.raises(AssertionError, match="no fault is set"):
            await opened.execute(tenant)

    with_gateway(servers, scenario)


def test_the_client_sees_a_truncated_answer_as_broken_off() -> None:
    """By a real server, whose connection ends in the middle of the body."""
    principal = Principal("k", "j", "s", "t", "t", "OWNER", "u", "", time.time() + 900)
    request = Request("POST", "/", {}, b"", "", 0.0, 0.0, request_id="r", principal=principal)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send_response(send, defects.spoilt(request, Response(200, b"x" * 1_000)))

    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S), serving(application) as port, httpx.AsyncClient() as browser:
            turn_on("truncated_bodies", share=1.0)
            with pytest.raises(httpx.RemoteProtocolError, match=r"received 500 bytes, expected 1000"):
                await browser.get(f"http://127.0.0.1:{port}/")
            faults.clear()
            assert (await browser.get(f"http://127.0.0.1:{port}/")).content == b"x" * 1_000

    asyncio.run(run())
