"""Faults of a whole stack: given at the start, set while it runs, kept by a process that is restarted, and gone."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import psycopg
import pytest
import redis

from soak_pipeline_tests.integration.test_embedded_stack import Stack, logged_in, pids, stack
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.integration

PORTS = {
    "ACP_GATEWAY_PORT": "28600",
    "ACP_POSTGRES_PORT": "28610",
    "ACP_REDIS_PORT": "28620",
    "ACP_METRICS_FIRST_PORT": "28630",
    "ACP_ADMIN_FIRST_PORT": "28660",
}
TENANT = {"name": "soak 1 tenant B", "requests_per_second": 10_000, "burst": 10_000, "rpm_limit": 600_000}

__all__ = ["stack"]  # The fixture.


def provision(url: str, admin: dict[str, str]) -> Callable[[], httpx.Response | None]:
    """A tenant with an agent; returns what sends one call of it, on a connection of its own.

    The call's answer is none when the connection broke.
    """
    tenant_id = str(uuid.uuid4())
    for_tenant = {**admin, "X-Tenant-ID": tenant_id}
    user = {"email": f"{tenant_id}@acp.example", "password": "a-long-password", "tenant_id": tenant_id, "role": "OWNER"}
    agent = {"name": "agent-one", "description": "reads files for tests"}
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        assert client.post("/auth/tenants", json={"tenant_id": tenant_id, **TENANT}, headers=admin).status_code == 201
        assert client.post("/auth/users", json=user, headers=admin).status_code == 201
        agent_id = client.post("/agents", json=agent, headers=for_tenant).json()["data"]["id"]
        granted = client.post(f"/agents/{agent_id}/permissions", json={"tool_name": "read_file"}, headers=for_tenant)
        assert granted.status_code == 201
        login = client.post("/auth/token", json={"email": user["email"], "password": user["password"]})
    headers = {"Authorization": f"Bearer {login.json()['data']['access_token']}", "X-Agent-ID": agent_id}

    def call() -> httpx.Response | None:
        try:
            return httpx.post(
                f"{url}/execute/read_file", json={"parameters": {"path": "/srv/a"}}, headers=headers, timeout=PATIENCE_S
            )
        except httpx.TransportError:
            return None

    return call


def timelines(dsn: str, status: str) -> int:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT count(*) FROM execution_timelines WHERE status = %s", [status])
        return int(found.fetchall()[0][0])


def faults_of(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.run("fault", "list", "--json").stdout)["faults"]
    return found


def test_a_killed_gateway_leaves_a_timeline_open_and_has_its_faults_again_when_restarted(stack: Stack) -> None:
    report = stack.up("--fault", "clock_off:offset_s=3600", **PORTS)
    url, admin = logged_in(stack)
    call = provision(url, admin)
    dated = parsedate_to_datetime(httpx.get(f"{url}/health", timeout=PATIENCE_S).headers["date"])
    assert 3_500 < (dated - datetime.now(UTC)).total_seconds() < 3_700
    answer = stack.run("fault", "set", "gateway_killed", "every_s=1")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "fault gateway_killed is set in gateway-0, gateway-1" in answer.stdout

    def is_restarted() -> bool:
        call()
        return pids(stack.status())["gateway-0"] != pids(report)["gateway-0"]

    wait_for(is_restarted, "gateway-0 killed and restarted")
    stack.run("fault", "clear", "gateway_killed")
    found = faults_of(stack)
    assert found["clock_off"]["set_in"] == ["gateway-0", "gateway-1", "sealer"]
    assert found["gateway_killed"]["set_in"] == []
    assert pids(stack.status())["gateway-1"] == pids(report)["gateway-1"]
    dsn = stack.environment()["ACP_FLIGHT_DSN"]
    wait_for(lambda: timelines(dsn, "in_progress") >= 1, "a timeline that nobody closes")
    assert stack.run("fault", "clear").returncode == 0

    def is_on_time() -> bool:
        dated = parsedate_to_datetime(httpx.get(f"{url}/health", timeout=PATIENCE_S).headers["date"])
        return abs((dated - datetime.now(UTC)).total_seconds()) < 60

    wait_for(is_on_time, "the clock right again")


def test_a_fault_of_a_tenant_and_one_of_the_surface_bite_in_every_process(stack: Stack) -> None:
    stack.up(**PORTS)
    url, admin = logged_in(stack)
    call = provision(url, admin)

    def statuses(count: int) -> Iterator[int]:
        for _ in range(count):
            answer = call()
            assert answer is not None
            yield answer.status_code

    assert set(statuses(20)) == {200}
    assert httpx.get(f"{url}/metrics", timeout=PATIENCE_S).status_code == 200
    assert stack.run("fault", "set", "throttle_storm", "tenant=Tenant B", "share=1").returncode == 0
    assert stack.run("fault", "set", "metrics_gone").returncode == 0
    # Each on a new connection, which the kernel gives to either process.
    assert set(statuses(20)) == {429}
    assert httpx.get(f"{url}/metrics", timeout=PATIENCE_S).status_code == 503
    refused = stack.run("fault", "set", "throttle_storm", "share=7")
    assert refused.returncode == 254
    assert "share is '7', must be a number from 0 to 1 (share)" in refused.stderr
    assert stack.run("up", "--fault", "metrics_gone").returncode == 1
    assert stack.run("fault", "clear").returncode == 0
    assert set(statuses(20)) == {200}
    assert httpx.get(f"{url}/metrics", timeout=PATIENCE_S).status_code == 200
    # The next stack begins without them.
    stack.run("fault", "set", "metrics_gone")
    stack.down()
    stack.up(**PORTS)
    assert httpx.get(f"{url}/metrics", timeout=PATIENCE_S).status_code == 200


def test_what_leaks_shows_in_the_gateways_own_gauges(stack: Stack) -> None:
    stack.up("--fault", "gateway_fd_leak:per_requests=1", "--fault", "growing_queue", **PORTS)
    url, admin = logged_in(stack)
    call = provision(url, admin)

    def open_files() -> float:
        lines = httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("process_open_fds{"))

    before = open_files()
    for _ in range(60):
        call()
    wait_for(lambda: open_files() >= before + 60, "every call has left a file open")
    found = stack.environment()
    wait_for(lambda: timelines(found["ACP_FLIGHT_DSN"], "ok") == 60, "every call's timeline is closed")
    with redis.Redis.from_url(found["ACP_REDIS_URL"]) as client:
        assert client.xlen("acp:flight_events") == 120
