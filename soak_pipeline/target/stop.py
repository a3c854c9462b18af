"""Stops the traffic of a run's tenants at the platform, and proves the silence.

Owns the stop levers and the probe. Each tenant signs in while it may, is blocked, and then calls with its valid token:
a refusal of that call is the proof, an acknowledged request to block it is none. May be repeated at any time, and needs
nothing but the plan, so that an emergency teardown can use it.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from soak_pipeline.model.credentials import tenant_user_email
from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.plan import TOOLS, Plan, TenantPlan
from soak_pipeline.model.stage_outputs import ProvisionedTenant, SilencedTenant
from soak_pipeline.model.target import StopLever
from soak_pipeline.target import accounts
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, reading
from soak_pipeline.target.gateway import Gateway, GatewayUnreachable
from soak_pipeline.target.preflight import gateway_lead_s
from soak_pipeline.target.provisioning import agent_names, password_of, tenant_title

PROBE_CALLS = 5
PROBE_S = 2.0
BLOCK_ATTEMPTS = 3
TIMEOUT_S = 5.0
LEAD_MARGIN_S = 1.0
"""A clock that is read from whole seconds is known about as well as this."""


@dataclass(frozen=True, kw_only=True)
class Silence:
    """What blocking and probing found.

    Attributes:
        tenants: in the plan's order.
        lever: the stop lever that was used.
        blocked_unix_s: our clock when the last block was acknowledged; None when one was not.
        blocked_at: the clock that audit rows bear, just after that; None when it was not or cannot be read.
        probe_request_ids: request ids of the probe's calls, so that its own rows are not held against the platform.
    """

    tenants: tuple[SilencedTenant, ...]
    lever: StopLever
    blocked_unix_s: float | None
    blocked_at: datetime | None
    probe_request_ids: frozenset[str]


def block_tenants(
    resolved: ResolvedTarget,
    plan: Plan,
    provisioned: Sequence[ProvisionedTenant] = (),
    *,
    probe_calls: int = PROBE_CALLS,
    probe_s: float = PROBE_S,
    transport: httpx.BaseTransport | None = None,
) -> Silence:
    """Blocks every tenant of the plan, then has each call in vain.

    Never raises for what the platform does: a tenant that could not be blocked or probed says so in its reason.

    Args:
        resolved: the target.
        plan: of the run.
        provisioned: what provisioning returned; without it the agents are looked up.
        probe_calls: calls of each tenant after its block.
        probe_s: over which they are spread (seconds).
        transport: for tests.
    """
    agents = {tenant.name: tenant.benign_agents[0] for tenant in provisioned if tenant.benign_agents}
    with (
        Gateway(resolved, timeout_s=TIMEOUT_S, connections=len(plan.tenants), transport=transport) as gateway,
        ThreadPoolExecutor(len(plan.tenants), thread_name_prefix="stop") as pool,
    ):
        probes = list(pool.map(lambda tenant: _Probe(gateway, plan, tenant, agents.get(tenant.name)), plan.tenants))
        problems = list(pool.map(lambda tenant: _block(gateway, plan, tenant), plan.tenants))
        all_blocked = not any(problems)
        blocked_unix_s = time.time() if all_blocked else None
        blocked_at = _row_time(resolved, gateway) if all_blocked else None
        pool_results = pool.map(lambda probe: probe.run(probe_calls, probe_s), probes)
        tenants = tuple(
            _silenced(probe, problem, statuses)
            for probe, problem, statuses in zip(probes, problems, pool_results, strict=True)
        )
    return Silence(
        tenants=tenants,
        lever=resolved.target.stop_lever,
        blocked_unix_s=blocked_unix_s,
        blocked_at=blocked_at,
        probe_request_ids=frozenset(request_id for probe in probes for request_id in probe.request_ids),
    )


class _Probe:
    """One tenant's own client: signs in before the block, and calls before and after it.

    The call before the block shows that the refusals afterwards are the block's doing.
    """

    def __init__(self, gateway: Gateway, plan: Plan, tenant: TenantPlan, agent_id: str | None) -> None:
        self.name = tenant.name
        self.request_ids: list[str] = []
        self.problem = ""
        self.blocked_status = gateway.dialect.provisioning.status_when_blocked[gateway.resolved.target.stop_lever]
        self._gateway = gateway
        self._tenant = tenant
        self._token = ""
        self._agent_id = agent_id or ""
        try:
            email = tenant_user_email(plan.run_id, tenant.name)
            password = password_of(gateway.resolved, plan, tenant)
            self._token = gateway.login(email, password, tenant_id=tenant.tenant_id).text
            if not self._agent_id:
                self._agent_id = _first_benign_agent(gateway, plan, tenant)
            self.problem = self._problem_before_block(self._call())
        except TargetFailed as failure:
            self.problem = f"not probed: {failure}"

    def run(self, calls: int, seconds: float) -> Counter[int]:
        """HTTP statuses of the calls after the block, 0 for a call without an answer; empty when it cannot call."""
        statuses: Counter[int] = Counter()
        if not self._token or not self._agent_id:
            return statuses
        for index in range(calls):
            if index:
                time.sleep(seconds / calls)
            try:
                statuses[self._call()] += 1
            except GatewayUnreachable:
                statuses[0] += 1
        return statuses

    def _call(self) -> int:
        request_id = str(uuid.uuid4())
        self.request_ids.append(request_id)
        dialect = self._gateway.dialect
        request = dialect.execute(TOOLS[0], dialect.execution.probe, agent_id=self._agent_id)
        return self._gateway.send(
            request, token=self._token, tenant_id=self._tenant.tenant_id, request_id=request_id
        ).status

    def _problem_before_block(self, status: int) -> str:
        """Why refusals after the block would prove nothing; a tenant that is blocked already is fine."""
        lever = self._gateway.resolved.target.stop_lever
        if 200 <= status < 300 or (lever is StopLever.RPM_LIMIT and status == self.blocked_status):
            return ""
        if lever is StopLever.KILL_SWITCH and accounts.kill_switch_is_engaged(self._gateway, self._tenant.tenant_id):
            return ""
        return f"the probe's call was answered {status} before the block too, so its refusal afterwards proves nothing"


def _block(gateway: Gateway, plan: Plan, tenant: TenantPlan) -> str:
    """Pulls the lever; why it did not move, or nothing when it did."""
    if gateway.resolved.target.stop_lever is StopLever.RPM_LIMIT:
        return _persistently(
            lambda: accounts.put_tenant(gateway, tenant.tenant_id, tenant_title(plan, tenant), rpm_limit=0)
        )
    return _persistently(lambda: accounts.set_kill_switch(gateway, tenant.tenant_id, engaged=True))


def _persistently(pull: Callable[[], None]) -> str:
    problem = ""
    for attempt in range(BLOCK_ATTEMPTS):
        if attempt:
            time.sleep(1.0)
        try:
            pull()
        except TargetFailed as failure:
            problem = f"not blocked: {failure}"
        else:
            return ""
    return problem


def _silenced(probe: _Probe, problem: str, statuses: Counter[int]) -> SilencedTenant:
    expected = probe.blocked_status
    unclear = {status: count for status, count in statuses.items() if status != expected and not 200 <= status < 300}
    reasons = [problem, probe.problem]
    if unclear:
        seen = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(unclear.items()))
        reasons.append(f"answers after the block that are neither service nor {expected}: {seen}")
    return SilencedTenant(
        name=probe.name,
        blocked=not problem,
        probe_calls=statuses.total(),
        probe_allowed=sum(count for status, count in statuses.items() if 200 <= status < 300),
        probe_statuses={str(status): count for status, count in sorted(statuses.items())},
        reason="; ".join(filter(None, reasons)),
    )


def _first_benign_agent(gateway: Gateway, plan: Plan, tenant: TenantPlan) -> str:
    agents = accounts.agents_by_name(gateway, tenant.tenant_id)
    name = agent_names(plan, tenant).benign[0]
    if name not in agents:
        raise TargetFailed(f"tenant {tenant.name} has no agent {name}; it was never provisioned whole")
    return agents[name]


def _row_time(resolved: ResolvedTarget, gateway: Gateway) -> datetime | None:
    """The present, by the clock that rows bear: the database's, unless the gateway's differs from it for certain."""
    try:
        with reading(resolved.dsns, "audit") as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
    except Unreadable:
        return None
    if row is None:
        return None
    now: datetime = row[0]
    lead_s = gateway_lead_s(resolved, gateway)
    return now + timedelta(seconds=lead_s + LEAD_MARGIN_S) if lead_s else now
