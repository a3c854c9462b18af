"""How tenants, users, agents and permissions are set up, blocked and looked up: calls, and what their answers mean.

Never decides how many of anything there should be, and sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from soak_pipeline.dialect.requests import Request, Route
from soak_pipeline.model.target import StopLever

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
"""What the platform calls an id goes into paths and headers of ours: nothing else may pass."""


class Rule(NamedTuple):
    """An agent's rule for one tool."""

    rule_id: str
    action: str


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """The operator's calls.

    Attributes:
        put_tenant_route, create_user_route, list_agents_route, create_agent_route, list_permissions_route,
            grant_route, revoke_route, exit_shadow_mode_route, engage_route, release_route, kill_switch_route: the
            calls; `{tenant_id}`, `{agent_id}` and `{rule_id}` are filled in.
        tier: of a soak tenant.
        owner_role: of a tenant's account, which may do everything in its tenant.
        allow: action of a rule that allows a tool.
        risk_level: of an agent.
        daily_requests_most: the largest daily cap that the platform takes.
        agents_per_page: of a listing.
        listing_keys: keys under which a listing may have its items; a bare list has them itself.
        engaged: status of a kill switch that blocks.
        new_tenants_observe: whether a new tenant only observes until its owner ends that: denials are not enforced.
        status_when_blocked: HTTP status of a call of a blocked tenant, by the lever that blocks it.
    """

    put_tenant_route: Route
    create_user_route: Route
    list_agents_route: Route
    create_agent_route: Route
    list_permissions_route: Route
    grant_route: Route
    revoke_route: Route
    exit_shadow_mode_route: Route
    engage_route: Route
    release_route: Route
    kill_switch_route: Route
    tier: str
    owner_role: str
    allow: str
    risk_level: str
    daily_requests_most: int
    agents_per_page: int
    listing_keys: tuple[str, ...]
    engaged: str
    new_tenants_observe: bool
    status_when_blocked: Mapping[StopLever, int]

    def put_tenant(self, tenant_id: str, name: str, rpm_limit: int) -> Request:
        """Creates a tenant or changes its limits; every limit but `rpm_limit` (requests per minute) is out of the way.

        The whole body is sent each time, because some platforms reset what is left out.
        """
        per_second = max(1, -(-rpm_limit // 60))
        return self.put_tenant_route.request(
            {
                "tenant_id": tenant_id,
                "name": name,
                "tier": self.tier,
                "rpm_limit": rpm_limit,
                "requests_per_second": per_second,
                "burst": 2 * per_second,
                "daily_request_cap": self.daily_requests_most,
            }
        )

    def create_user(self, tenant_id: str, email: str, password: str) -> Request:
        """Creates a tenant's account."""
        body = {"email": email, "password": password, "tenant_id": tenant_id, "role": self.owner_role}
        return self.create_user_route.request(body)

    def list_agents(self, page: int) -> Request:
        """One page of a tenant's agents, counted from 0."""
        query = {"limit": self.agents_per_page, "offset": page * self.agents_per_page}
        return self.list_agents_route.request()._replace(query=query)

    def create_agent(self, tenant_id: str, name: str, description: str) -> Request:
        """Creates an agent."""
        # The platform replaces the owner by the caller; the field must be there all the same.
        body = {"name": name, "description": description, "owner_id": tenant_id, "risk_level": self.risk_level}
        return self.create_agent_route.request(body)

    def list_permissions(self, agent_id: str) -> Request:
        """An agent's rules."""
        return self.list_permissions_route.request(agent_id=agent_id)

    def grant(self, agent_id: str, tool: str) -> Request:
        """Allows an agent a tool for which it has no rule."""
        body = {"tool_name": tool, "action": self.allow, "granted_by": "soak"}
        return self.grant_route.request(body, agent_id=agent_id)

    def revoke(self, agent_id: str, rule_id: str) -> Request:
        """Removes an agent's rule."""
        return self.revoke_route.request(agent_id=agent_id, rule_id=rule_id)

    def exit_shadow_mode(self) -> Request:
        """Makes a new tenant enforce its denials; by its owner."""
        return self.exit_shadow_mode_route.request()

    def engage_kill_switch(self, tenant_id: str) -> Request:
        """Blocks a tenant."""
        return self.engage_route.request({"action": "engage"}, tenant_id=tenant_id)

    def release_kill_switch(self, tenant_id: str) -> Request:
        """Opens a tenant again."""
        return self.release_route.request(tenant_id=tenant_id)

    def kill_switch(self, tenant_id: str) -> Request:
        """Asks for the state of a tenant's kill switch."""
        return self.kill_switch_route.request(tenant_id=tenant_id)

    def is_engaged(self, payload: object) -> bool:
        """Whether the answer about a kill switch says that it blocks."""
        return isinstance(payload, dict) and payload.get("status") == self.engaged

    def id_in(self, payload: object) -> str | None:
        """The id of what a call has created; None when there is none that may be used."""
        found = payload.get("id") if isinstance(payload, dict) else None
        return str(found) if _is_id(found) else None

    def agents_in(self, payload: object) -> dict[str, str]:
        """Ids by name, of a page of agents."""
        return {str(item["name"]): str(item["id"]) for item in self._items(payload) if "name" in item}

    def rules_in(self, payload: object) -> dict[str, Rule]:
        """An agent's rules by tool."""
        return {
            str(item["tool_name"]): Rule(str(item["id"]), str(item["action"]))
            for item in self._items(payload)
            if {"tool_name", "action"} <= item.keys()
        }

    def _items(self, payload: object) -> Iterator[dict[str, object]]:
        """The items of a listing that have a usable id."""
        items = payload
        if isinstance(payload, dict):
            items = next((payload[key] for key in self.listing_keys if key in payload), [])
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict) and _is_id(item.get("id")):
                yield item


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and _ID.fullmatch(str(value)) is not None
