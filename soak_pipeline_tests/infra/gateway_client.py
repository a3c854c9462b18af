"""A gateway worker inside the test, on real PostgreSQL and Redis, and a client that speaks to it without a network."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from infra.acp.gateway.agents import reassert_kill_switches
from infra.acp.gateway.app import Gateway
from infra.acp.gateway.services import Services, open_services
from infra.acp.seed import seed_admin
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.waiting import PATIENCE_S

ADMIN_EMAIL = "admin@acp.example"
ADMIN_PASSWORD = "correct-horse-battery"
USER_PASSWORD = "another-long-password"
BENIGN = {"parameters": {"path": "/srv/scratch/note.txt"}, "metadata": {"tokens": 123}}
TOOLS = ("read_file", "list_dir")

Result = TypeVar("Result")


@dataclass
class TestTenant:
    """A tenant with one owner and one agent that may use TOOLS."""

    __test__ = False

    tenant_id: str
    email: str
    agent_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "X-Tenant-ID": self.tenant_id, "X-Agent-ID": self.agent_id}


@dataclass
class GatewayUnderTest:
    """One worker, its services, and a client; the administrator is logged in."""

    services: Services
    gateway: Gateway
    client: httpx.AsyncClient
    admin: dict[str, str]

    async def tenant(self, **limits: Any) -> TestTenant:
        """Provision a tenant as a harness would: tenant, owner, agent, permissions, login."""
        tenant_id = str(uuid.uuid4())
        email = f"owner-{tenant_id}@acp.example"
        body = {"tenant_id": tenant_id, "rpm_limit": 100_000, "requests_per_second": 1000, "burst": 1000, **limits}
        await self.post("/auth/tenants", body, 201)
        await self.post(
            "/auth/users", {"email": email, "password": USER_PASSWORD, "tenant_id": tenant_id, "role": "OWNER"}, 201
        )
        headers = {**self.admin, "X-Tenant-ID": tenant_id}
        agent = await self.post("/agents", {"name": "agent-one", "description": "reads files for tests"}, 201, headers)
        agent_id = agent["data"]["id"]
        for tool in TOOLS:
            await self.post(f"/agents/{agent_id}/permissions", {"tool_name": tool}, 201, headers)
        answer = await self.client.post("/auth/token", json={"email": email, "password": USER_PASSWORD})
        return TestTenant(tenant_id, email, agent_id, answer.json()["data"]["access_token"])

    async def post(
        self, path: str, body: object, expected: int, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        answer = await self.client.post(path, json=body, headers=headers or self.admin)
        assert answer.status_code == expected, (path, answer.status_code, answer.text)
        parsed: dict[str, Any] = answer.json()
        return parsed

    async def execute(self, tenant: TestTenant, tool: str = "read_file", body: object = BENIGN) -> httpx.Response:
        return await self.client.post(f"/execute/{tool}", json=body, headers=tenant.headers)


@asynccontextmanager
async def gateway(servers: Servers, **changes: Any) -> AsyncIterator[GatewayUnderTest]:
    """Open a worker with a service time of a millisecond; `changes` are further settings."""
    settings = servers.settings(
        **{"jwt_secret": "a-secret-of-at-least-thirty-two-bytes", "service_time_median_ms": 1.0, **changes}
    )
    seed_admin(settings.identity_dsn, ADMIN_EMAIL, ADMIN_PASSWORD)
    async with open_services(settings) as services:
        await reassert_kill_switches(services)
        application = Gateway(services)
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:

            async def forget_cookies(_: httpx.Response) -> None:
                client.cookies.clear()

            # Else the cookie of a login would make later calls without a token valid.
            client.event_hooks["response"].append(forget_cookies)
            login = await client.post("/auth/token", json={"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD})
            admin = {"Authorization": f"Bearer {login.json()['data']['access_token']}"}
            yield GatewayUnderTest(services, application, client, admin)


def with_gateway(servers: Servers, scenario: Callable[[GatewayUnderTest], Awaitable[Result]], **changes: Any) -> Result:
    """Run one scenario against a fresh worker."""

    async def run() -> Result:
        async with asyncio.timeout(PATIENCE_S), gateway(servers, **changes) as opened:
            return await scenario(opened)

    return asyncio.run(run())
