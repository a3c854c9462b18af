"""What an operator sets up at the gateway: tenants, users, agents, permissions. Each call may be repeated.

Owns what becomes of a refusal. Never decides how many of anything there should be; calls and answers are the dialect's.
"""

from __future__ import annotations

from http import HTTPStatus

from soak_pipeline.dialect.provisioning import Rule
from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.target.gateway import Gateway, GatewayRefused

_MOST_PAGES = 1_000


def put_tenant(gateway: Gateway, tenant_id: str, name: str, *, rpm_limit: int) -> None:
    """Creates a tenant or changes its limits; every limit but `rpm_limit` is out of the way.

    Args:
        gateway: operator's.
        tenant_id: UUID.
        name: shown to people.
        rpm_limit: requests per minute; 0 blocks the tenant on platforms that take it so.

    Raises:
        TargetFailed: the platform did not do it.
    """
    gateway.call(gateway.dialect.provisioning.put_tenant(tenant_id, name, rpm_limit))


def ensure_user(gateway: Gateway, tenant_id: str, email: str, password: str) -> None:
    """Creates a tenant's account; one that exists must accept the same password.

    Raises:
        TargetFailed: not created, or it exists with another password.
    """
    answer = gateway.call(
        gateway.dialect.provisioning.create_user(tenant_id, email, password),
        tenant_id=tenant_id,
        expect=(HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT),
    )
    if answer.status in (HTTPStatus.OK, HTTPStatus.CREATED):
        return
    try:
        gateway.login(email, password, tenant_id=tenant_id)
    except GatewayRefused as refusal:
        raise GatewayRefused(
            f"user {email} could not be created ({answer.status} {answer.error()}) nor signed in ({refusal.status});"
            " if it exists from another operator password, run `soak clean` or use a new run id",
            refusal.status,
        ) from None


def agents_by_name(gateway: Gateway, tenant_id: str) -> dict[str, str]:
    """Ids of a tenant's agents by name.

    Raises:
        TargetFailed: not readable, or a list without end.
    """
    words = gateway.dialect.provisioning
    found: dict[str, str] = {}
    for page in range(_MOST_PAGES):
        fresh = words.agents_in(gateway.call(words.list_agents(page), tenant_id=tenant_id).data())
        if fresh.keys() <= found.keys():
            return found
        found |= fresh
        if len(fresh) < words.agents_per_page:
            return found
    raise TargetFailed(
        f"{words.list_agents(0)} of tenant {tenant_id} gave more than {_MOST_PAGES * words.agents_per_page} agents"
    )


def create_agent(gateway: Gateway, tenant_id: str, name: str, description: str) -> str | None:
    """Creates an agent.

    Returns:
        Its id, or None when the tenant has an agent of that name already.

    Raises:
        TargetFailed: not created.
    """
    words = gateway.dialect.provisioning
    request = words.create_agent(tenant_id, name, description)
    expect = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.CONFLICT)
    answer = gateway.call(request, tenant_id=tenant_id, expect=expect)
    if answer.status == HTTPStatus.CONFLICT:
        return None
    agent_id = words.id_in(answer.data())
    if agent_id is None:
        raise GatewayRefused(f"{request} answered {answer.status} without an id", answer.status)
    return agent_id


def grant(gateway: Gateway, tenant_id: str, agent_id: str, tool: str) -> None:
    """Allows an agent a tool, whatever rule it had for that tool before.

    Raises:
        TargetFailed: not granted.
    """
    words = gateway.dialect.provisioning
    request = words.grant(agent_id, tool)
    expect = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.CONFLICT)
    answer = gateway.call(request, tenant_id=tenant_id, expect=expect)
    if answer.status != HTTPStatus.CONFLICT:
        return
    rule = permissions(gateway, tenant_id, agent_id).get(tool)
    if rule is None or rule.action != words.allow:
        revoke(gateway, tenant_id, agent_id, tool)
        gateway.call(request, tenant_id=tenant_id)


def revoke(gateway: Gateway, tenant_id: str, agent_id: str, tool: str) -> None:
    """Removes an agent's rule for a tool; none there is fine.

    Raises:
        TargetFailed: not removed.
    """
    rule = permissions(gateway, tenant_id, agent_id).get(tool)
    if rule is not None:
        gateway.call(
            gateway.dialect.provisioning.revoke(agent_id, rule.rule_id),
            tenant_id=tenant_id,
            expect=(HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND),
        )


def permissions(gateway: Gateway, tenant_id: str, agent_id: str) -> dict[str, Rule]:
    """An agent's rules by tool.

    Raises:
        TargetFailed: not readable.
    """
    words = gateway.dialect.provisioning
    return words.rules_in(gateway.call(words.list_permissions(agent_id), tenant_id=tenant_id).data())


def leave_shadow_mode(gateway: Gateway, tenant_id: str, owner_token: str) -> None:
    """Makes a new tenant enforce its denials, on platforms that only observe at first.

    Raises:
        TargetFailed: refused; attacks would be served, and be held against the platform.
    """
    request = gateway.dialect.provisioning.exit_shadow_mode()
    answer = gateway.send(request, token=owner_token, tenant_id=tenant_id)
    if answer.status != HTTPStatus.OK:
        raise GatewayRefused(f"{request} of tenant {tenant_id} answered {answer.status}", answer.status)


def set_kill_switch(gateway: Gateway, tenant_id: str, *, engaged: bool) -> None:
    """Engages or releases a tenant's kill switch.

    Raises:
        TargetFailed: not done.
    """
    words = gateway.dialect.provisioning
    if engaged:
        gateway.call(words.engage_kill_switch(tenant_id), tenant_id=tenant_id)
    else:
        expect = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        gateway.call(words.release_kill_switch(tenant_id), tenant_id=tenant_id, expect=expect)


def kill_switch_is_engaged(gateway: Gateway, tenant_id: str) -> bool:
    """Whether a tenant's kill switch is engaged.

    Raises:
        TargetFailed: not readable.
    """
    words = gateway.dialect.provisioning
    return words.is_engaged(gateway.call(words.kill_switch(tenant_id), tenant_id=tenant_id).data())
