"""A real gateway process: given faults at its start and by its port, killed by one, and stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import redis

from infra.acp import events
from infra.acp.seed import seed_admin
from infra.acp.settings import Settings, variable
from soak_pipeline_tests.infra.gateway_client import ADMIN_EMAIL, ADMIN_PASSWORD, BENIGN, USER_PASSWORD
from soak_pipeline_tests.infra.servers import Servers, free_port
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

TENANT_ID = "22222222-2222-4222-8222-222222222222"
TOKEN = "a-token-that-nobody-else-has"


@dataclass
class Running:
    """A gateway process with one tenant, and what speaks to it."""

    process: subprocess.Popen[bytes]
    url: str
    admin_url: str
    headers: dict[str, str]

    def call(self) -> httpx.Response:
        return httpx.post(f"{self.url}/execute/read_file", json=BENIGN, headers=self.headers, timeout=PATIENCE_S)

    def fault(self, method: str, name: str, **parameters: Any) -> int:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"{self.admin_url}/faults/{name}"
        return httpx.request(method, url, json=parameters, headers=headers, timeout=PATIENCE_S).status_code


@contextmanager
def running(servers: Servers, faults: str = "") -> Iterator[Running]:
    settings = servers.settings(
        jwt_secret="a-secret-of-at-least-thirty-two-bytes",
        service_time_median_ms=1.0,
        process_name="gateway-0",
        gateway_port=free_port(),
        admin_port=free_port(),
        admin_token=TOKEN,
    )
    seed_admin(settings.identity_dsn, ADMIN_EMAIL, ADMIN_PASSWORD)
    process = start(settings, faults)
    try:
        url = f"http://127.0.0.1:{settings.gateway_port}"
        wait_for(lambda: answers(f"{url}/health"), "the gateway serves")
        headers = provision(url)
        yield Running(process, url, f"http://127.0.0.1:{settings.admin_port}", headers)
    finally:
        process.kill()
        process.wait()


def start(settings: Settings, faults: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {variable(item.name): str(getattr(settings, item.name)) for item in fields(settings)}
    return subprocess.Popen(
        [sys.executable, "-m", "infra.acp", "run", "gateway"],
        env=environment | {"ACP_FAULTS": faults},
        stderr=subprocess.DEVNULL,
    )


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE_S).status_code == 200
    except httpx.TransportError:
        return False


def provision(url: str) -> dict[str, str]:
    """The headers of an agent of a new tenant that may call `read_file`."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        login = client.post("/auth/token", json={"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}).json()
        client.cookies.clear()
        admin = {"Authorization": f"Bearer {login['data']['access_token']}"}
        limits = {"rpm_limit": 100_000, "requests_per_second": 1_000, "burst": 1_000}
        user = {"email": "owner@acp.example", "password": USER_PASSWORD, "tenant_id": TENANT_ID, "role": "OWNER"}
        tenant = {"tenant_id": TENANT_ID, "name": "soak 1 tenant C", **limits}
        assert client.post("/auth/tenants", json=tenant, headers=admin).status_code == 201
        assert client.post("/auth/users", json=user, headers=admin).status_code == 201
        for_tenant = {**admin, "X-Tenant-ID": TENANT_ID}
        agent = {"name": "agent-one", "description": "reads files for tests"}
        agent_id = client.post("/agents", json=agent, headers=for_tenant).json()["data"]["id"]
        allowed = client.post(f"/agents/{agent_id}/permissions", json={"tool_name": "read_file"}, headers=for_tenant)
        assert allowed.status_code == 201
        token = client.post("/auth/token", json={"email": user["email"], "password": USER_PASSWORD}).json()
    return {"Authorization": f"Bearer {token['data']['access_token']}", "X-Agent-ID": agent_id}


def test_faults_are_had_from_the_start_and_set_and_cleared_while_it_serves(servers: Servers) -> None:
    with running(servers, "clock_off:offset_s=3600") as gateway:

        def seconds_ahead() -> float:
            dated = parsedate_to_datetime(httpx.get(f"{gateway.url}/health", timeout=PATIENCE_S).headers["date"])
            return (dated - datetime.now(UTC)).total_seconds()

        assert 3_500 < seconds_ahead() < 3_700
        assert gateway.call().status_code == 200
        # The tenant is known by its name as soon as the fault is set.
        assert gateway.fault("PUT", "throttle_storm", share=1) == 200
        assert gateway.call().status_code == 429
        assert gateway.fault("DELETE", "throttle_storm") == 200
        assert gateway.fault("PUT", "truncated_bodies", share=1) == 200
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            gateway.call()
        assert gateway.fault("DELETE", "truncated_bodies") == 200
        assert gateway.call().status_code == 200
        assert gateway.fault("DELETE", "clock_off") == 200
        wait_for(lambda: abs(seconds_ahead()) < 60, "the clock is right again")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(PATIENCE_S) == 0


def test_a_killed_process_leaves_a_timeline_open(servers: Servers, client: redis.Redis) -> None:
    with running(servers) as gateway:
        assert gateway.call().status_code == 200
        assert gateway.fault("PUT", "gateway_killed", every_s=0.2) == 200

        def is_dead() -> bool:
            try:
                gateway.call()
            except httpx.TransportError:
                return True
            return False

        wait_for(is_dead, "the process is dead")
        assert gateway.process.wait(PATIENCE_S) == -signal.SIGKILL
    entries: Any = client.xrange(events.FLIGHT_STREAM)
    told = [events.decode_flight(fields) for _, fields in entries]
    opened = [event.request_id for event in told if event.status == "in_progress"]
    closed = [event.request_id for event in told if event.status == "ok"]
    assert set(opened) - set(closed) == {opened[-1]}
