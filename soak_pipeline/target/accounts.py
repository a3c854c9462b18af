"""What an operator can set up at the gateway: tenants, users, agents, permissions. Each call may be repeated.

Owns the paths and bodies of provisioning. Never decides how many of anything there should be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.target.gateway import Answer, Gateway, GatewayRefused

OWNER = "OWNER"
ALLOW = "ALLOW"
MAX_INT32 = 2**31 - 1
_AGENTS_PER_PAGE = 100
_MOST_PAGES = 1_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
"""What the platform calls an id goes into paths and headers of ours: nothing else may pass."""


def put_tenant(gateway: Gateway, tenant_id: str, name: str, *, rpm_limit: int) -> None:
    """Creates a tenant or changes its limits; every limit but `rpm_limit` is out of the way.

    The whole body is sent each time, because some platforms reset what is left out.

    Args:
        gateway: operator's.
        tenant_id: UUID.
        name: shown to people.
        rpm_limit: requests per minute; 0 blocks the tenant on platforms that take it so.

    Raises:
        TargetFailed: the platform did not do it.
    """
    per_second = max(1, -(-rpm_limit // 60))
    gateway.call(
        "POST",
        "/auth/tenants",
        body={
            "tenant_id": tenant_id,
            "name": name,
            "tier": "enterprise",
            "rpm_limit": rpm_limit,
            "requests_per_second": per_second,
            "burst": 2 * per_second,
            "daily_request_cap": MAX_INT32,
        },
    )


def ensure_user(gateway: Gateway, tenant_id: str, email: str, password: str) -> None:
    """Creates a tenant's account; one that exists must accept the same password.

    Raises:
        TargetFailed: not created, or it exists with another password.
    """
    answer = gateway.call(
        "POST",
        "/auth/users",
        tenant_id=tenant_id,
        body={"email": email, "password": password, "tenant_id": tenant_id, "role": OWNER},
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
    found: dict[str, str] = {}
    for page in range(_MOST_PAGES):
        query = {"limit": _AGENTS_PER_PAGE, "offset": page * _AGENTS_PER_PAGE}
        fresh = dict(_named_ids(gateway.call("GET", "/agents", tenant_id=tenant_id, query=query)))
        if fresh.keys() <= found.keys():
            return found
        found |= fresh
        if len(fresh) < _AGENTS_PER_PAGE:
            return found
    raise TargetFailed(f"GET /agents of tenant {tenant_id} gave more than {_MOST_PAGES * _AGENTS_PER_PAGE} agents")


def create_agent(gateway: Gateway, tenant_id: str, name: str, description: str) -> str | None:
    """Creates an agent.

    Returns:
        Its id, or None when the tenant has an agent of that name already.

    Raises:
        TargetFailed: not created.
    """
    answer = gateway.call(
        "POST",
        "/agents",
        tenant_id=tenant_id,
        # The platform replaces the owner by the caller; the field must be there all the same.
        body={"name": name, "description": description, "owner_id": tenant_id, "risk_level": "low"},
        expect=(HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.CONFLICT),
    )
    return None if answer.status == HTTPStatus.CONFLICT else _id_of(answer, "POST /agents")


def grant(gateway: Gateway, tenant_id: str, agent_id: str, tool: str) -> None:
    """Allows an agent a tool, whatever rule it had for that tool before.

    Raises:
        TargetFailed: not granted.
    """
    path = f"/agents/{agent_id}/permissions"
    body = {"tool_name": tool, "action": ALLOW, "granted_by": "soak"}
    expect = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.CONFLICT)
    answer = gateway.call("POST", path, tenant_id=tenant_id, body=body, expect=expect)
    if answer.status != HTTPStatus.CONFLICT:
        return
    rules = permissions(gateway, tenant_id, agent_id)
    if rules.get(tool, ("", ""))[1] != ALLOW:
        revoke(gateway, tenant_id, agent_id, tool)
        gateway.call("POST", path, tenant_id=tenant_id, body=body)


def revoke(gateway: Gateway, tenant_id: str, agent_id: str, tool: str) -> None:
    """Removes an agent's rule for a tool; none there is fine.

    Raises:
        TargetFailed: not removed.
    """
    rule = permissions(gateway, tenant_id, agent_id).get(tool)
    if rule is not None:
        gateway.call(
            "DELETE",
            f"/agents/{agent_id}/permissions/{rule[0]}",
            tenant_id=tenant_id,
            expect=(HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND),
        )


def permissions(gateway: Gateway, tenant_id: str, agent_id: str) -> dict[str, tuple[str, str]]:
    """An agent's rules: tool -> (id of the rule, `ALLOW` or `DENY`).

    Raises:
        TargetFailed: not readable.
    """
    answer = gateway.call("GET", f"/agents/{agent_id}/permissions", tenant_id=tenant_id)
    return {
        str(rule["tool_name"]): (str(rule["id"]), str(rule["action"]))
        for rule in _list_of(answer)
        if {"tool_name", "action"} <= rule.keys() and _is_id(rule.get("id"))
    }


def leave_shadow_mode(gateway: Gateway, tenant_id: str, owner_token: str) -> None:
    """Makes a new tenant enforce its denials, on platforms that only observe at first.

    Raises:
        TargetFailed: refused; attacks would be served, and be held against the platform.
    """
    answer = gateway.send("POST", "/workspace/exit-shadow-mode", token=owner_token, tenant_id=tenant_id)
    if answer.status != HTTPStatus.OK:
        raise GatewayRefused(
            f"POST /workspace/exit-shadow-mode of tenant {tenant_id} answered {answer.status}", answer.status
        )


def set_kill_switch(gateway: Gateway, tenant_id: str, *, engaged: bool) -> None:
    """Engages or releases a tenant's kill switch.

    Raises:
        TargetFailed: not done.
    """
    path = f"/decision/kill-switch/{tenant_id}"
    if engaged:
        gateway.call("POST", path, tenant_id=tenant_id, body={"action": "engage"})
    else:
        gateway.call("DELETE", path, tenant_id=tenant_id, expect=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))


def kill_switch_is_engaged(gateway: Gateway, tenant_id: str) -> bool:
    """Whether a tenant's kill switch is engaged.

    Raises:
        TargetFailed: not readable.
    """
    data = gateway.call("GET", f"/decision/kill-switch/{tenant_id}", tenant_id=tenant_id).data()
    return isinstance(data, dict) and data.get("status") == "engaged"


def _named_ids(answer: Answer) -> Iterator[tuple[str, str]]:
    for item in _list_of(answer):
        if "name" in item and _is_id(item.get("id")):
            yield str(item["name"]), str(item["id"])


def _list_of(answer: Answer) -> list[dict[str, object]]:
    """The items of a listing, whether it is bare or has them under `items`."""
    data = answer.data()
    items = data.get("items", data.get("agents", [])) if isinstance(data, dict) else data
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _id_of(answer: Answer, call: str) -> str:
    data = answer.data()
    if not isinstance(data, dict) or not _is_id(data.get("id")):
        raise GatewayRefused(f"{call} answered {answer.status} without an id", answer.status)
    return str(data["id"])


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and _ID.fullmatch(str(value)) is not None
