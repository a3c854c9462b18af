"""Behaviours of the deployed platform that differ from the nominal ones, each a switch that is nominal by default.

Owns the switches' names and values; the environment variable of each is `ACP_SWITCH_<NAME IN CAPITALS>`. Only
behaviours that are implemented are here. Faults are no switches: a switch says how a sound deployment differs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields


class SwitchError(ValueError):
    """A switch has a value that it does not take; the message names every one."""


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches of one process. The first of the values named is the nominal one."""

    #: off: routes ask for the roles of their table. on: the deployed role table, which closes many of them to everyone.
    rbac_strict: str = "off"
    #: admin: administrators create tenants and users. register_only: only `/auth/register` does.
    provisioning: str = "admin"
    #: blocks: a tenant with rpm_limit 0 is blocked. tier_default: it gets the limit of its tier.
    rpm_zero: str = "blocks"
    #: caller: roots of the caller's tenant. nil: always an empty list.
    transparency_tenant: str = "caller"


VALUES = {
    "rbac_strict": ("off", "on"),
    "provisioning": ("admin", "register_only"),
    "rpm_zero": ("blocks", "tier_default"),
    "transparency_tenant": ("caller", "nil"),
}

#: Requests per minute of a tier, where rpm_limit 0 means the tier's default.
TIER_RPM = {"basic": 3_000, "pro": 6_000, "enterprise": 12_000}

#: Routes that no role may call under the deployed role table, as method and template.
CLOSED_WHEN_STRICT = frozenset(
    {
        ("POST", "/execute/{tool}"),
        ("POST", "/auth/credentials"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/logout"),
        ("POST", "/agents/{agent_id}/permissions"),
        ("POST", "/decision/kill-switch/{tenant_id}"),
        ("DELETE", "/decision/kill-switch/{tenant_id}"),
        ("GET", "/usage/summary"),
        ("GET", "/usage/dashboard"),
        ("GET", "/flight/timelines"),
        ("GET", "/flight/timeline/by-request/{request_id}"),
        ("GET", "/graph/agents"),
        ("GET", "/graph/agent/{agent_id}"),
        ("POST", "/transparency/compute"),
    }
)


def from_environment(environment: Mapping[str, str] | None = None) -> Switches:
    """Read the switches from the environment, by default the process's own.

    Raises:
        SwitchError: a value is not one that its switch takes.
    """
    source = os.environ if environment is None else environment
    chosen: dict[str, str] = {}
    problems: list[str] = []
    for item in fields(Switches):
        name = f"ACP_SWITCH_{item.name.upper()}"
        value = source.get(name, "")
        if value and value not in VALUES[item.name]:
            problems.append(f"{name} is {value!r}, must be one of {', '.join(VALUES[item.name])}")
        elif value:
            chosen[item.name] = value
    if problems:
        raise SwitchError("; ".join(problems))
    return Switches(**chosen)
