"""The handlers of `/agents`, of the kill switch and of a tenant's quota."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from infra.acp import clock
from infra.acp.gateway import roles
from infra.acp.gateway.directory import AlreadyExists, Row
from infra.acp.gateway.http import Refusal, Request, Response, bare, enveloped, parse_uuid
from infra.acp.gateway.services import Services

AGENTS_PER_TENANT = 1000
AGENT_NAME = r"^[a-z0-9][a-z0-9_-]{1,98}[a-z0-9]$"
TOOL_NAME = r"^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*$"
DAY_S = 86_400


class NewAgent(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=AGENT_NAME)]
    description: Annotated[str, msgspec.Meta(min_length=10, max_length=500, pattern=r"^[^<>]*$")]
    owner_id: str | None = None
    risk_level: Literal["low", "medium", "high", "critical"] = "low"


class NewPermission(msgspec.Struct):
    tool_name: Annotated[str, msgspec.Meta(pattern=rf"{TOOL_NAME}|^\*$", max_length=150)]
    action: Literal["ALLOW", "DENY"] = "ALLOW"
    granted_by: Annotated[str, msgspec.Meta(max_length=255)] = "system"
    expires_at: datetime | None = None


class KillSwitch(msgspec.Struct):
    action: Literal["engage", "disengage"] = "engage"
    reason: Annotated[str, msgspec.Meta(max_length=500)] | None = None


async def create_agent(services: Services, request: Request) -> Response:
    """POST /agents. The owner is the caller, whatever the body says."""
    body = request.json_as(NewAgent)
    if await services.directory.count_agents(request.tenant_id) >= AGENTS_PER_TENANT:
        raise Refusal(429, f"Tenant has {AGENTS_PER_TENANT} agents, the most it may have")
    try:
        agent = await services.directory.create_agent(
            tenant_id=request.tenant_id,
            name=body.name,
            description=body.description,
            owner_id=request.caller.subject,
            risk_level=body.risk_level,
        )
    except AlreadyExists:
        raise Refusal(409, "An agent of this name exists") from None
    return enveloped(agent, status=201)


async def list_agents(services: Services, request: Request) -> Response:
    """GET /agents, oldest first."""
    limit = request.integer("limit", 100, 1, 1000)
    return enveloped(
        await services.directory.agents(request.tenant_id, limit, request.integer("offset", 0, 0, 100_000))
    )


async def show_agent(services: Services, request: Request) -> Response:
    """GET /agents/{id} with its permissions."""
    agent = await _agent(services, request)
    return enveloped(agent | {"permissions": await services.directory.permissions(request.tenant_id, agent["id"])})


async def grant(services: Services, request: Request) -> Response:
    """POST /agents/{id}/permissions: in force for every later request."""
    body = request.json_as(NewPermission)
    agent = await _agent(services, request)
    if body.expires_at is not None and body.expires_at.tzinfo is None:
        raise Refusal(422, "Validation failed", meta={"details": ["expires_at has no time zone"]})
    try:
        permission = await services.directory.grant(
            tenant_id=request.tenant_id,
            agent_id=agent["id"],
            tool_name=body.tool_name,
            action=body.action,
            granted_by=body.granted_by,
            expires_at=body.expires_at,
        )
    except AlreadyExists:
        raise Refusal(409, "The agent has a permission for this tool") from None
    return enveloped(permission, status=201)


async def list_permissions(services: Services, request: Request) -> Response:
    """GET /agents/{id}/permissions."""
    agent = await _agent(services, request)
    return enveloped(await services.directory.permissions(request.tenant_id, agent["id"]))


async def revoke(services: Services, request: Request) -> Response:
    """DELETE /agents/{id}/permissions/{permission}: every later request is denied."""
    agent_id, permission_id = (parse_uuid(text, "id", status=404) for text in request.params)
    if not await services.directory.revoke(request.tenant_id, agent_id, permission_id):
        raise Refusal(404, "Permission not found")
    return enveloped({"id": permission_id, "status": "revoked"})


async def show_kill_switch(services: Services, request: Request) -> Response:
    """GET /decision/kill-switch/{tenant}."""
    tenant_id = _switchable_tenant(request)
    return _kill_switch_answer(tenant_id, await services.gate.is_killed(tenant_id))


async def switch_kill(services: Services, request: Request) -> Response:
    """POST and DELETE /decision/kill-switch/{tenant}: every later execution of the tenant is refused, or no longer."""
    tenant_id = _switchable_tenant(request)
    body = KillSwitch("disengage") if request.method == "DELETE" else request.json_as(KillSwitch)
    engaged = body.action == "engage"
    await services.pools["audit"].execute(
        "INSERT INTO kill_switches (tenant_id, engaged, reason, engaged_at, disengaged_at)"
        " VALUES ($1, $2, $3, CASE WHEN $2 THEN now() END, CASE WHEN NOT $2 THEN now() END)"
        " ON CONFLICT (tenant_id) DO UPDATE SET engaged = $2, reason = coalesce($3, kill_switches.reason),"
        " engaged_at = CASE WHEN $2 THEN now() ELSE kill_switches.engaged_at END,"
        " disengaged_at = CASE WHEN $2 THEN NULL ELSE now() END",
        tenant_id,
        engaged,
        body.reason,
    )
    await services.gate.set_kill(tenant_id, engaged)
    return _kill_switch_answer(tenant_id, engaged)


async def quota(services: Services, request: Request) -> Response:
    """GET /tenant/quota: the tenant's limits, and what it has used of them."""
    tenant = await services.directory.tenant(request.tenant_id)
    if tenant is None:
        raise Refusal(404, "Tenant not found")
    used_today, used_this_month = await services.gate.quota_used(request.tenant_id)
    limits = (
        "requests_per_second",
        "burst",
        "daily_request_cap",
        "monthly_request_cap",
        "daily_inference_cost_cap_usd",
        "rpm_limit",
    )
    return bare(
        {
            "limits": {name: tenant[name] for name in limits},
            "usage": {
                "daily_used": used_today,
                "daily_cap": tenant["daily_request_cap"],
                "daily_resets_at": (int(clock.now_s()) // DAY_S + 1) * DAY_S,
                "monthly_used": used_this_month,
                "monthly_cap": tenant["monthly_request_cap"],
                "monthly_resets_at": _next_month(),
            },
        }
    )


async def reassert_kill_switches(services: Services) -> None:
    """Make Redis know every engaged kill switch again, as after it was started empty."""
    for row in await services.pools["audit"].fetch("SELECT tenant_id::text FROM kill_switches WHERE engaged"):
        await services.gate.set_kill(row["tenant_id"], True)


async def _agent(services: Services, request: Request) -> Row:
    agent = await services.directory.agent(request.tenant_id, parse_uuid(request.params[0], "agent id", status=404))
    if agent is None:
        raise Refusal(404, "Agent not found")
    return agent


def _switchable_tenant(request: Request) -> str:
    tenant_id = parse_uuid(request.params[0], "tenant id")
    if tenant_id != request.caller.tenant_id and not roles.is_platform_admin(request.caller):
        raise Refusal(403, "Tenant mismatch detected")
    return tenant_id


def _kill_switch_answer(tenant_id: str, engaged: bool) -> Response:
    return enveloped({"status": "engaged" if engaged else "disengaged", "tenant_id": tenant_id})


def _next_month() -> int:
    now = time.gmtime(clock.now_s())
    year, month = (now.tm_year + 1, 1) if now.tm_mon == 12 else (now.tm_year, now.tm_mon + 1)
    return int(datetime.fromisoformat(f"{year:04}-{month:02}-01T00:00:00+00:00").timestamp())
