"""The handlers of `/auth`: logins, tokens, tenants, users and agents' secrets."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import asyncpg
import msgspec

from infra.acp import events
from infra.acp.gateway import admission, passwords, roles
from infra.acp.gateway.directory import AlreadyExists, Row
from infra.acp.gateway.http import Refusal, Request, Response, bare, encode_json, enveloped, parse_uuid
from infra.acp.gateway.journal import append
from infra.acp.gateway.redis_link import Command
from infra.acp.gateway.services import Services
from infra.acp.gateway.tokens import Principal

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Email = Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)]
Password = Annotated[str, msgspec.Meta(min_length=8, max_length=256)]
Secret = Annotated[str, msgspec.Meta(min_length=16, max_length=256)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2_147_483_647)]
UserRole = Literal["OWNER", "ADMIN", "SECURITY_ANALYST", "DEVELOPER", "user", "READ_ONLY"]

#: Failed logins of one e-mail address within a day, and how long the next one then has to wait, seconds.
LOCKOUTS = ((20, 3600), (10, 300), (5, 60))
FAILURE_WINDOW_S = 86_400
COOKIE_LIFE_S = 86_400


class Login(msgspec.Struct):
    email: str
    password: str


class AgentLogin(msgspec.Struct):
    agent_id: str
    secret: str


class Registration(msgspec.Struct):
    email: Email
    password: Password
    workspace_name: Text | None = None
    full_name: Text | None = None


class NewUser(msgspec.Struct):
    email: Email
    password: Password
    tenant_id: str | None = None
    org_id: str | None = None
    role: UserRole = "user"
    full_name: Text | None = None


class Credential(msgspec.Struct):
    agent_id: str
    secret: Secret


class TenantChange(msgspec.Struct, forbid_unknown_fields=True):
    """Fields that are left out keep their value, or get their default in a new tenant."""

    tenant_id: str
    org_id: str | msgspec.UnsetType = msgspec.UNSET
    name: Text | msgspec.UnsetType = msgspec.UNSET
    tier: Literal["basic", "pro", "enterprise"] | msgspec.UnsetType = msgspec.UNSET
    rpm_limit: Natural | msgspec.UnsetType = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    degraded_mode_policy: Literal["block_high_risk", "block_all", "allow_with_audit"] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    requests_per_second: Natural | msgspec.UnsetType = msgspec.UNSET
    burst: Natural | msgspec.UnsetType = msgspec.UNSET
    daily_request_cap: Natural | msgspec.UnsetType = msgspec.UNSET
    monthly_request_cap: Natural | msgspec.UnsetType | None = msgspec.UNSET
    daily_inference_cost_cap_usd: Annotated[float, msgspec.Meta(ge=0, lt=100000000.0)] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )


async def login(services: Services, request: Request) -> Response:
    """POST /auth/token: a user's token for an e-mail address and a password."""
    body = request.json_as(Login)
    email = body.email.strip().lower()
    await _refuse_locked_out(services, email)
    user = await services.directory.user_by_email(email)
    claimed_tenant = request.header(b"x-tenant-id")
    known = user is not None and user["is_active"] and claimed_tenant in ("", user["tenant_id"])
    if not known or user is None or not await passwords.verify_in_thread(body.password, user["password_hash"]):
        await _count_failure(services, email)
        raise Refusal(401, "Invalid credentials")
    token, principal = _user_token(services, user)
    await services.journal.commit(
        ("DEL", _failures_key(email)),
        admission.remember_token(principal),
        _login_event(request, principal, "user_login"),
    )
    return _token_answer(services, token, principal)


async def agent_login(services: Services, request: Request) -> Response:
    """POST /auth/agent/token: an agent's token for its secret. The tenant must be named by X-Tenant-ID."""
    body = request.json_as(AgentLogin)
    tenant_id = parse_uuid(request.header(b"x-tenant-id"), "X-Tenant-ID", status=400)
    agent_id = parse_uuid(body.agent_id, "agent_id", status=400)
    await _refuse_locked_out(services, agent_id)
    stored = await services.directory.credential_hash(tenant_id, agent_id)
    if stored is None or not await passwords.verify_in_thread(body.secret, stored):
        await _count_failure(services, agent_id)
        raise Refusal(401, "Invalid credentials")
    permissions = await services.directory.permissions(tenant_id, agent_id)
    token, principal = services.tokens.issue(
        subject=agent_id,
        tenant_id=tenant_id,
        org_id=tenant_id,
        role=roles.AGENT,
        agent_id=agent_id,
        agent_status="ACTIVE",
        permissions=[{"tool_name": row["tool_name"], "action": row["action"]} for row in permissions],
    )
    await services.journal.commit(admission.remember_token(principal), _login_event(request, principal, "token_issue"))
    return _token_answer(services, token, principal, agent_id=agent_id, user_id=None)


async def register(services: Services, request: Request) -> Response:
    """POST /auth/register: a new tenant and its owner. The answer to a taken address does not say that it is taken."""
    body = request.json_as(Registration)
    email = body.email.strip().lower()
    if await services.directory.user_by_email(email) is not None:
        return enveloped({"status": "accepted", "check_email": True}, status=202)
    tenant_id = str(uuid.uuid4())
    password_hash = await passwords.hash_in_thread(body.password, services.settings.password_cost)
    await services.directory.upsert_tenant(tenant_id, {"name": body.workspace_name or email})
    try:
        user = await services.directory.create_user(
            tenant_id=tenant_id, email=email, password_hash=password_hash, role="OWNER", full_name=body.full_name
        )
    except AlreadyExists:
        return enveloped({"status": "accepted", "check_email": True}, status=202)
    token, principal = _user_token(services, user)
    await services.journal.commit(admission.remember_token(principal), _login_event(request, principal, "user_login"))
    data = _token_data(services, token, principal) | {"user_id": principal.user_id}
    return enveloped(data, status=201, headers=(_cookie(token),))


async def refresh(services: Services, request: Request) -> Response:
    """POST /auth/refresh: a new token for the current one, which is revoked."""
    old = request.caller
    if old.is_agent:
        token, new = services.tokens.issue(
            subject=old.subject,
            tenant_id=old.tenant_id,
            org_id=old.org_id,
            role=old.role,
            agent_id=old.agent_id,
            agent_status="ACTIVE",
        )
    else:
        user = await services.directory.user_by_id(old.user_id)
        if user is None or not user["is_active"]:
            raise Refusal(401, "Unauthorized")
        token, new = _user_token(services, user)
    await services.journal.commit(admission.remember_token(new), admission.revoke_token(old))
    return _token_answer(services, token, new)


async def logout(services: Services, request: Request) -> Response:
    """POST /auth/logout: the current token is revoked."""
    await services.journal.commit(admission.revoke_token(request.caller))
    return enveloped({"status": "logged_out"})


async def me(services: Services, request: Request) -> Response:
    """GET /auth/me: who the token speaks for."""
    caller = request.caller
    return enveloped(
        {
            "subject": caller.subject,
            "user_id": caller.user_id or None,
            "agent_id": caller.agent_id or None,
            "tenant_id": caller.tenant_id,
            "org_id": caller.org_id,
            "role": caller.role,
            "expires_at": int(caller.expires_at),
        }
    )


async def change_tenant(services: Services, request: Request) -> Response:
    """POST /auth/tenants: create or change a tenant, for the administrators of the platform."""
    _require_provisioning(services)
    _require_platform_admin(request.caller)
    body = request.json_as(TenantChange)
    tenant_id = parse_uuid(body.tenant_id, "tenant_id")
    changes: Row = {
        name: value
        for name, value in msgspec.structs.asdict(body).items()
        if name != "tenant_id" and value is not msgspec.UNSET
    }
    if "org_id" in changes:
        changes["org_id"] = parse_uuid(changes["org_id"], "org_id")
    if changes.get("daily_inference_cost_cap_usd") is not None:
        changes["daily_inference_cost_cap_usd"] = Decimal(str(changes["daily_inference_cost_cap_usd"]))
    tenant = await services.directory.upsert_tenant(tenant_id, changes)
    return bare({"status": "ok", **_limits_of(tenant)}, status=201)


async def show_tenant(services: Services, request: Request) -> Response:
    """GET /auth/tenants/{id}: the caller's own tenant, or any for the administrators of the platform."""
    tenant_id = parse_uuid(request.params[0], "tenant_id")
    roles.require(request.caller, "ADMIN")
    _require_own_tenant(request.caller, tenant_id)
    tenant = await services.directory.tenant(tenant_id)
    if tenant is None:
        raise Refusal(404, "Tenant not found")
    return bare(
        _limits_of(tenant)
        | {
            "org_id": tenant["org_id"],
            "name": tenant["name"],
            "status": "active" if tenant["is_active"] else "suspended",
            "shadow_mode_until": tenant["shadow_mode_until"],
            "system_values": tenant["system_values"],
        }
    )


async def create_user(services: Services, request: Request) -> Response:
    """POST /auth/users: a user of the caller's own tenant, or of any for the administrators of the platform."""
    body = request.json_as(NewUser)
    if body.tenant_id not in (None, request.caller.tenant_id):
        _require_provisioning(services)
    tenant_id = parse_uuid(body.tenant_id, "tenant_id", status=400) if body.tenant_id else request.tenant_id
    _require_own_tenant(request.caller, tenant_id)
    if body.org_id is not None and parse_uuid(body.org_id, "org_id", status=400) != tenant_id:
        raise Refusal(403, "Tenant mismatch detected")
    password_hash = await passwords.hash_in_thread(body.password, services.settings.password_cost)
    try:
        user = await services.directory.create_user(
            tenant_id=tenant_id,
            email=body.email.strip().lower(),
            password_hash=password_hash,
            role=body.role,
            full_name=body.full_name,
        )
    except AlreadyExists:
        raise Refusal(400, "A user with this e-mail address exists") from None
    except asyncpg.ForeignKeyViolationError:
        raise Refusal(404, "Tenant not found") from None
    shown = ("id", "email", "full_name", "role", "tenant_id", "is_active", "created_at")
    return enveloped({name: user[name] for name in shown}, status=201)


async def set_credential(services: Services, request: Request) -> Response:
    """POST /auth/credentials: set or replace an agent's secret."""
    body = request.json_as(Credential)
    agent_id = parse_uuid(body.agent_id, "agent_id")
    if await services.directory.agent(request.tenant_id, agent_id) is None:
        raise Refusal(404, "Agent not found")
    secret_hash = await passwords.hash_in_thread(body.secret, services.settings.password_cost)
    return enveloped(await services.directory.set_credential(request.tenant_id, agent_id, secret_hash), status=201)


def _user_token(services: Services, user: Row) -> tuple[str, Principal]:
    return services.tokens.issue(
        subject=user["id"], tenant_id=user["tenant_id"], org_id=user["org_id"], role=user["role"], user_id=user["id"]
    )


def _token_data(services: Services, token: str, principal: Principal) -> dict[str, Any]:
    return {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": services.tokens.ttl_s,
        "tenant_id": principal.tenant_id,
        "role": principal.role,
    }


def _token_answer(services: Services, token: str, principal: Principal, **extra: str | None) -> Response:
    body = {"success": True, "data": _token_data(services, token, principal) | extra}
    return Response(200, encode_json(body), (_cookie(token),))


def _cookie(token: str) -> tuple[bytes, bytes]:
    return (b"set-cookie", f"acp_token={token}; HttpOnly; SameSite=strict; Path=/; Max-Age={COOKIE_LIFE_S}".encode())


def _limits_of(tenant: Row) -> Row:
    names = (
        "tenant_id",
        "tier",
        "rpm_limit",
        "degraded_mode_policy",
        "requests_per_second",
        "burst",
        "daily_request_cap",
        "monthly_request_cap",
        "daily_inference_cost_cap_usd",
    )
    return {name: tenant[name] for name in names}


def _require_provisioning(services: Services) -> None:
    if services.switches.provisioning == "register_only":
        raise Refusal(403, "Forbidden", detail="this deployment creates tenants by registration only")


def _require_platform_admin(caller: Principal) -> None:
    if not roles.is_platform_admin(caller):
        raise Refusal(403, "Forbidden", detail="only an owner of the default tenant may change tenants")


def _require_own_tenant(caller: Principal, tenant_id: str) -> None:
    if tenant_id != caller.tenant_id and not roles.is_platform_admin(caller):
        raise Refusal(403, "Tenant mismatch detected")


def _login_event(request: Request, principal: Principal, action: str) -> Command:
    event = events.AuditEvent(
        tenant_id=principal.tenant_id,
        org_id=principal.org_id,
        request_id=request.request_id,
        agent_id=principal.agent_id or events.NIL_UUID,
        action=action,
        decision="allow",
        occurred_at=datetime.fromtimestamp(request.started_at, UTC),
        metadata={"role": principal.role},
    )
    return append(events.AUDIT_STREAM, events.encode_audit(event))


def _failures_key(name: str) -> str:
    return f"acp:pwfail:{hashlib.sha256(name.encode()).hexdigest()}"


async def _count_failure(services: Services, name: str) -> None:
    key = _failures_key(name)
    await services.link.execute_all([("INCR", key), ("EXPIRE", key, FAILURE_WINDOW_S)])


async def _refuse_locked_out(services: Services, name: str) -> None:
    """Refuse a login for a while after several failed ones; the wait counts from the last failure."""
    failures, life_s = await _failures(services, name)
    for limit, wait_s in LOCKOUTS:
        left_s = wait_s - (FAILURE_WINDOW_S - life_s)
        if failures >= limit:
            if left_s > 0:
                raise Refusal(429, "Too many failed logins", headers=((b"retry-after", str(left_s).encode()),))
            return


async def _failures(services: Services, name: str) -> tuple[int, int]:
    key = _failures_key(name)
    count = services.link.execute("GET", key)
    life = services.link.execute("TTL", key)
    return int(await count or 0), int(await life)
