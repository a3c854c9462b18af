"""Creates what a plan's load needs: tenants with generous limits, their accounts, agents and permissions.

Owns how many of each there are and what they are called. May be repeated: what exists is found again, by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import httpx
import msgspec

from soak_pipeline.model.credentials import tenant_password, tenant_user_email
from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.plan import TOOLS, Plan, TenantPlan
from soak_pipeline.model.stage_outputs import ProvisionedTenant
from soak_pipeline.model.target import StopLever
from soak_pipeline.model.tenants import SIZING_TENANT, tenant_id_of
from soak_pipeline.target import accounts
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.gateway import Gateway

CALLS_AT_ONCE = 8
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class AgentNames(msgspec.Struct, frozen=True, kw_only=True):
    """Names of one tenant's agents by what they are for; attacks never use a benign agent."""

    benign: tuple[str, ...]
    attack: tuple[str, ...]
    fanout: tuple[str, ...]

    def all(self) -> tuple[str, ...]:
        """Every name."""
        return self.benign + self.attack + self.fanout


def agent_names(plan: Plan, tenant: TenantPlan) -> AgentNames:
    """The agents that a plan's load uses in one tenant."""
    count = plan.profile.agents_per_tenant
    fanout = plan.profile.fanout
    return AgentNames(
        benign=_numbered("benign", count),
        attack=_numbered("attack", count),
        fanout=_numbered("fanout", fanout.agents if fanout.tenant == tenant.name else 0),
    )


def provision(
    resolved: ResolvedTarget, plan: Plan, *, transport: httpx.BaseTransport | None = None
) -> tuple[ProvisionedTenant, ...]:
    """Creates the tenants of a plan with all that belongs to them, or finds them again.

    A tenant that an earlier teardown had blocked is opened again.

    Args:
        resolved: the target.
        plan: the frozen plan.
        transport: for tests.

    Returns:
        One entry per tenant, in the plan's order, with agents in the order of their names; no secret.

    Raises:
        TargetFailed: the platform did not do something; what was created stays, and is found again.
    """
    with Gateway(resolved, connections=CALLS_AT_ONCE, transport=transport) as gateway:
        _at_once(lambda tenant: _open_tenant(gateway, plan, tenant), plan.tenants)
        agents = _ensure_agents(gateway, plan)
        holders = [(tenant.tenant_id, agent_id) for tenant in plan.tenants for agent_id in agents[tenant.name].values()]
        _at_once(lambda holder: _ensure_permissions(gateway, *holder), holders)
    return tuple(_provisioned(plan, tenant, agents[tenant.name]) for tenant in plan.tenants)


def open_sizing_tenant(gateway: Gateway, plan: Plan) -> tuple[str, str, str]:
    """Creates the tenant as which the machine is measured before the run, with one agent that may call one tool.

    Returns:
        Its id, the agent's id, and a token, which is a secret.

    Raises:
        TargetFailed: the platform did not do something.
    """
    tenant = _sizing_tenant(plan)
    _open_tenant(gateway, plan, tenant)
    name = agent_names(plan, tenant).benign[0]
    agent_id = accounts.create_agent(gateway, tenant.tenant_id, name, f"Soak test agent of run {plan.run_id}")
    agent_id = agent_id or accounts.agents_by_name(gateway, tenant.tenant_id)[name]
    accounts.grant(gateway, tenant.tenant_id, agent_id, TOOLS[0])
    email, password = tenant_user_email(plan.run_id, tenant.name), password_of(gateway.resolved, plan, tenant)
    return tenant.tenant_id, agent_id, gateway.login(email, password, tenant_id=tenant.tenant_id).text


def close_sizing_tenant(gateway: Gateway, plan: Plan) -> None:
    """Blocks that tenant.

    Raises:
        TargetFailed: the platform did not do it.
    """
    tenant = _sizing_tenant(plan)
    if gateway.resolved.target.stop_lever is StopLever.KILL_SWITCH:
        accounts.set_kill_switch(gateway, tenant.tenant_id, engaged=True)
    else:
        accounts.put_tenant(gateway, tenant.tenant_id, tenant_title(plan, tenant), rpm_limit=0)


def _sizing_tenant(plan: Plan) -> TenantPlan:
    return TenantPlan(
        name=SIZING_TENANT,
        tenant_id=tenant_id_of(plan.run_id, SIZING_TENANT),
        share=0.0,
        soak_users=0,
        rpm_limit=max(tenant.rpm_limit for tenant in plan.tenants),
        is_noisy=False,
        limits={},
    )


def tenant_title(plan: Plan, tenant: TenantPlan) -> str:
    """How a soak tenant is called on the platform."""
    return f"soak {plan.run_id} tenant {tenant.name}"


def password_of(resolved: ResolvedTarget, plan: Plan, tenant: TenantPlan) -> str:
    """Password of a soak tenant's account; a secret."""
    return tenant_password(resolved.admin_password, plan.run_id, tenant.name)


def _open_tenant(gateway: Gateway, plan: Plan, tenant: TenantPlan) -> None:
    accounts.put_tenant(gateway, tenant.tenant_id, tenant_title(plan, tenant), rpm_limit=tenant.rpm_limit)
    if gateway.resolved.target.stop_lever is StopLever.KILL_SWITCH:
        accounts.set_kill_switch(gateway, tenant.tenant_id, engaged=False)
    email = tenant_user_email(plan.run_id, tenant.name)
    password = password_of(gateway.resolved, plan, tenant)
    accounts.ensure_user(gateway, tenant.tenant_id, email, password)
    if gateway.dialect.provisioning.new_tenants_observe:
        token = gateway.login(email, password, tenant_id=tenant.tenant_id)
        accounts.leave_shadow_mode(gateway, tenant.tenant_id, token.text)


def _ensure_agents(gateway: Gateway, plan: Plan) -> dict[str, dict[str, str]]:
    """Per tenant's name: agent's name -> id, in the order of `AgentNames.all`."""
    listings = _at_once(lambda tenant: accounts.agents_by_name(gateway, tenant.tenant_id), plan.tenants)
    existing = {tenant.name: listing for tenant, listing in zip(plan.tenants, listings, strict=True)}
    missing = [
        (tenant, name)
        for tenant in plan.tenants
        for name in agent_names(plan, tenant).all()
        if name not in existing[tenant.name]
    ]

    def create(item: tuple[TenantPlan, str]) -> str | None:
        tenant, name = item
        return accounts.create_agent(gateway, tenant.tenant_id, name, f"Soak test agent of run {plan.run_id}")

    for (tenant, name), agent_id in zip(missing, _at_once(create, missing), strict=True):
        if agent_id is None:
            raise TargetFailed(
                f"agent {name} of tenant {tenant.name} exists but is not listed; delete it, or use a new run id"
            )
        existing[tenant.name][name] = agent_id
    return {
        tenant.name: {name: existing[tenant.name][name] for name in agent_names(plan, tenant).all()}
        for tenant in plan.tenants
    }


def _ensure_permissions(gateway: Gateway, tenant_id: str, agent_id: str) -> None:
    """Allows an agent every tool of the load; what it has been allowed before costs no call."""
    allow = gateway.dialect.provisioning.allow
    rules = accounts.permissions(gateway, tenant_id, agent_id)
    for tool in TOOLS:
        if tool not in rules or rules[tool].action != allow:
            accounts.grant(gateway, tenant_id, agent_id, tool)


def _provisioned(plan: Plan, tenant: TenantPlan, ids: dict[str, str]) -> ProvisionedTenant:
    names = agent_names(plan, tenant)
    return ProvisionedTenant(
        name=tenant.name,
        tenant_id=tenant.tenant_id,
        user_email=tenant_user_email(plan.run_id, tenant.name),
        benign_agents=tuple(ids[name] for name in names.benign),
        attack_agents=tuple(ids[name] for name in names.attack),
        fanout_agents=tuple(ids[name] for name in names.fanout),
    )


def _numbered(purpose: str, count: int) -> tuple[str, ...]:
    return tuple(f"soak-{purpose}-{index:04d}" for index in range(count))


def _at_once(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Does the work for every item, a bounded number at a time; the first failure ends it all."""
    with ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="provision") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
