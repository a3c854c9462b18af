"""Tenants, users, agents and permissions: the identity database, and what a worker process remembers of it.

Owns the SQL of `acp_identity`. Executions read agents from memory; a remembered agent is used only under the version of
the tenant's state that the admission script has just returned, so a change is seen by the next request of any worker.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from infra.acp import faults
from infra.acp.gateway.admission import AdmissionGate, Limits
from infra.acp.switches import TIER_RPM

TENANT_COLUMNS = (
    "tenant_id::text, org_id::text, name, tier::text, rpm_limit, is_active, degraded_mode_policy::text,"
    " requests_per_second, burst, daily_request_cap, monthly_request_cap, daily_inference_cost_cap_usd::float8,"
    " shadow_mode_until, system_values::text"
)
USER_COLUMNS = "id::text, org_id::text, tenant_id::text, email, full_name, password_hash, role, is_active, created_at"
AGENT_COLUMNS = (
    "id::text, tenant_id::text, org_id::text, name, description, owner_id::text, status, risk_level, metadata::text,"
    " created_at, updated_at, deleted_at"
)
PERMISSION_COLUMNS = "id::text, agent_id::text, tool_name, action, granted_by, granted_at, expires_at"

#: Agents remembered per worker process.
REMEMBERED_AGENTS = 20_000

Row = dict[str, Any]


class AlreadyExists(Exception):
    """A unique value is taken."""


@dataclass(frozen=True, slots=True)
class AgentView:
    """What executions need to know of an agent. `rules` maps a tool, or `*`, to its action and expiry."""

    agent_id: str
    name: str
    is_active: bool
    rules: Mapping[str, tuple[str, datetime | None]]

    def may_use(self, tool: str, now: datetime) -> bool:
        """Whether the tool is on the agent's list of allowed tools; a DENY of the tool beats an ALLOW of all."""
        action, expires_at = self.rules.get(tool) or self.rules.get("*") or ("DENY", None)
        return action == "ALLOW" and (expires_at is None or expires_at > now)


class Directory:
    """The identity database as the gateway uses it.

    Args:
        pool: connections to `acp_identity`.
        gate: told of every change, before the change is answered.
        rpm_zero: the switch of that name.
    """

    def __init__(self, pool: asyncpg.Pool, gate: AdmissionGate, *, rpm_zero: str = "blocks") -> None:
        self._rpm_zero = rpm_zero
        self._pool = pool
        self._gate = gate
        self._agents: OrderedDict[tuple[str, str], tuple[str, AgentView | None]] = OrderedDict()
        self._loading: dict[tuple[str, str, str], asyncio.Task[AgentView | None]] = {}

    # Tenants

    async def tenant(self, tenant_id: str) -> Row | None:
        """A tenant's row, or none."""
        row = await self._pool.fetchrow(f"SELECT {TENANT_COLUMNS} FROM tenants WHERE tenant_id = $1", tenant_id)
        return _tenant_row(row)

    async def load_limits(self, tenant_id: str) -> bool:
        """Tell the admission script a tenant's limits. Returns False when there is no such tenant."""
        tenant = await self.tenant(tenant_id)
        if tenant is None:
            return False
        await self._gate.set_limits_if_absent(tenant_id, limits_of(tenant, self._rpm_zero))
        return True

    async def upsert_tenant(self, tenant_id: str, changes: Row) -> Row:
        """Create a tenant or change the named columns of it; in force for the next request of every worker.

        The row stays locked until Redis knows the limits, so two changes at once end the same in both places.
        """
        names = list(changes)
        placeholders = "".join(f", ${position}" for position in range(2, len(names) + 2))
        columns = "".join(f", {name}" for name in names)
        organisation = "" if "org_id" in changes else ", org_id"
        organisation_value = "" if "org_id" in changes else ", $1"
        updates = ", ".join(["updated_at = now()", *(f"{name} = excluded.{name}" for name in names)])
        statement = (
            f"INSERT INTO tenants (tenant_id{organisation}{columns}) VALUES ($1{organisation_value}{placeholders})"
            f" ON CONFLICT (tenant_id) DO UPDATE SET {updates} RETURNING {TENANT_COLUMNS}"
        )
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(statement, tenant_id, *changes.values())
                tenant = _tenant_row(row)
                if tenant is None:
                    raise RuntimeError(f"tenant {tenant_id} vanished while it was written")
                await self._gate.set_limits(tenant_id, limits_of(tenant, self._rpm_zero))
        except BaseException:
            await self._gate.forget(tenant_id)
            raise
        return tenant

    # Users

    async def user_by_email(self, email: str) -> Row | None:
        row = await self._pool.fetchrow(f"SELECT {USER_COLUMNS} FROM users WHERE email = $1", email)
        return dict(row) if row else None

    async def user_by_id(self, user_id: str) -> Row | None:
        row = await self._pool.fetchrow(f"SELECT {USER_COLUMNS} FROM users WHERE id = $1", user_id)
        return dict(row) if row else None

    async def create_user(
        self, *, tenant_id: str, email: str, password_hash: str, role: str, full_name: str | None
    ) -> Row:
        """Add a user to a tenant.

        Raises:
            AlreadyExists: the e-mail address is taken, in whatever tenant.
            asyncpg.ForeignKeyViolationError: there is no such tenant.
        """
        statement = (
            "INSERT INTO users (org_id, tenant_id, email, password_hash, role, full_name)"
            f" VALUES ($1, $1, $2, $3, $4, $5) RETURNING {USER_COLUMNS}"
        )
        return await self._insert(statement, tenant_id, email, password_hash, role, full_name)

    # Agents

    async def create_agent(self, *, tenant_id: str, name: str, description: str, owner_id: str, risk_level: str) -> Row:
        """Add an agent; AlreadyExists when the tenant has one of this name."""
        statement = (
            "INSERT INTO agents (org_id, tenant_id, name, description, owner_id, risk_level)"
            f" VALUES ($1, $1, $2, $3, $4, $5) RETURNING {AGENT_COLUMNS}"
        )
        row = await self._insert(statement, tenant_id, name, description, owner_id, risk_level)
        await self._gate.bump(tenant_id)
        return {**_agent_row(row), "permissions": []}

    async def count_agents(self, tenant_id: str) -> int:
        return int(
            await self._pool.fetchval(
                "SELECT count(*) FROM agents WHERE tenant_id = $1 AND deleted_at IS NULL", tenant_id
            )
        )

    async def agents(self, tenant_id: str, limit: int, offset: int) -> list[Row]:
        rows = await self._pool.fetch(
            f"SELECT {AGENT_COLUMNS} FROM agents WHERE tenant_id = $1 AND deleted_at IS NULL"
            " ORDER BY created_at, id LIMIT $2 OFFSET $3",
            tenant_id,
            limit,
            offset,
        )
        return [_agent_row(row) for row in rows]

    async def agent(self, tenant_id: str, agent_id: str) -> Row | None:
        row = await self._pool.fetchrow(
            f"SELECT {AGENT_COLUMNS} FROM agents WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL",
            tenant_id,
            agent_id,
        )
        return _agent_row(row) if row else None

    async def permissions(self, tenant_id: str, agent_id: str) -> list[Row]:
        rows = await self._pool.fetch(
            f"SELECT {PERMISSION_COLUMNS} FROM agent_permissions"
            " WHERE tenant_id = $1 AND agent_id = $2 ORDER BY tool_name",
            tenant_id,
            agent_id,
        )
        return [dict(row) for row in rows]

    async def grant(
        self,
        *,
        tenant_id: str,
        agent_id: str,
        tool_name: str,
        action: str,
        granted_by: str,
        expires_at: datetime | None,
    ) -> Row:
        """Add a permission; AlreadyExists when the agent has a rule for the tool. Seen by every later request."""
        statement = (
            "INSERT INTO agent_permissions (tenant_id, agent_id, tool_name, action, granted_by, expires_at)"
            f" VALUES ($1, $2, $3, $4, $5, $6) RETURNING {PERMISSION_COLUMNS}"
        )
        row = await self._insert(statement, tenant_id, agent_id, tool_name, action, granted_by, expires_at)
        await self._gate.bump(tenant_id)
        return row

    async def revoke(self, tenant_id: str, agent_id: str, permission_id: str) -> bool:
        """Remove a permission, for every later request. Returns False when there is none such."""
        statement = "DELETE FROM agent_permissions WHERE tenant_id = $1 AND agent_id = $2 AND id = $3 RETURNING id"
        if faults.active("revoke_not_honoured"):
            statement = "SELECT id FROM agent_permissions WHERE tenant_id = $1 AND agent_id = $2 AND id = $3"
        removed = await self._pool.fetchval(
            statement,
            tenant_id,
            agent_id,
            permission_id,
        )
        await self._gate.bump(tenant_id)
        return removed is not None

    async def set_credential(self, tenant_id: str, agent_id: str, secret_hash: str) -> Row:
        """Set or replace an agent's secret."""
        row = await self._pool.fetchrow(
            "INSERT INTO agent_credentials (tenant_id, agent_id, secret_hash) VALUES ($1, $2, $3)"
            " ON CONFLICT (agent_id) DO UPDATE SET secret_hash = excluded.secret_hash, updated_at = now()"
            " RETURNING id::text, agent_id::text, status, is_active, created_at, updated_at",
            tenant_id,
            agent_id,
            secret_hash,
        )
        return dict(row)

    async def credential_hash(self, tenant_id: str, agent_id: str) -> str | None:
        """The hash of an active agent's secret, or none."""
        value = await self._pool.fetchval(
            "SELECT c.secret_hash FROM agent_credentials c JOIN agents a ON a.id = c.agent_id"
            " WHERE c.tenant_id = $1 AND c.agent_id = $2 AND c.is_active AND a.status = 'ACTIVE'"
            " AND a.deleted_at IS NULL",
            tenant_id,
            agent_id,
        )
        return None if value is None else str(value)

    async def agent_view(self, tenant_id: str, agent_id: str, version: str) -> AgentView | None:
        """An agent and its permissions as of a version of the tenant's state; none when there is no such agent."""
        remembered = self._agents.get((tenant_id, agent_id))
        if remembered is not None and remembered[0] == version:
            return remembered[1]
        key = (tenant_id, agent_id, version)
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load_agent(tenant_id, agent_id, version))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    async def _load_agent(self, tenant_id: str, agent_id: str, version: str) -> AgentView | None:
        rows = await self._pool.fetch(
            "SELECT a.name, a.status, p.tool_name, p.action, p.expires_at FROM agents a"
            " LEFT JOIN agent_permissions p ON p.agent_id = a.id"
            " WHERE a.tenant_id = $1 AND a.id = $2 AND a.deleted_at IS NULL",
            tenant_id,
            agent_id,
        )
        view = None
        if rows:
            rules = {row["tool_name"]: (row["action"], row["expires_at"]) for row in rows if row["tool_name"]}
            view = AgentView(agent_id, rows[0]["name"], rows[0]["status"] == "ACTIVE", rules)
        self._agents[(tenant_id, agent_id)] = (version, view)
        self._agents.move_to_end((tenant_id, agent_id))
        if len(self._agents) > REMEMBERED_AGENTS:
            self._agents.popitem(last=False)
        return view

    async def _insert(self, statement: str, *values: Any) -> Row:
        try:
            return dict(await self._pool.fetchrow(statement, *values))
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists(str(error)) from None


def limits_of(tenant: Row, rpm_zero: str = "blocks") -> Limits:
    """The limits in a tenant's row; a tenant that is not active may ask nothing. `rpm_zero`: see `switches.py`."""
    rpm = tenant["rpm_limit"]
    fault = faults.active("rpm_zero_ignored")
    if rpm == 0 and (rpm_zero == "tier_default" or (fault and fault.concerns(tenant["tenant_id"]))):
        rpm = TIER_RPM[tenant["tier"]]
    return Limits(
        rpm=rpm if tenant["is_active"] else 0,
        rps=tenant["requests_per_second"],
        burst=tenant["burst"],
        daily=tenant["daily_request_cap"],
        monthly=tenant["monthly_request_cap"],
    )


def _tenant_row(row: asyncpg.Record | None) -> Row | None:
    return None if row is None else {**row, "system_values": msgspec.json.decode(row["system_values"])}


def _agent_row(row: Mapping[str, Any]) -> Row:
    return {**row, "metadata": msgspec.json.decode(row["metadata"])}
