"""Who may do what: the roles, and the rules by which routes ask for them."""

from __future__ import annotations

from infra.acp.gateway.http import Refusal
from infra.acp.gateway.tokens import Principal
from infra.acp.settings import DEFAULT_TENANT_ID

AGENT = "agent"
ANYONE = "any"
#: From the most to the least powerful. `user` is what accounts get when nothing is said.
ORDER = ("ROOT", "OWNER", "ADMIN", "SECURITY_ANALYST", "DEVELOPER", "user", "READ_ONLY")
_RANK = {role: rank for rank, role in enumerate(ORDER)}


def is_platform_admin(principal: Principal) -> bool:
    """Whether the caller administers the whole platform: an owner of the default tenant."""
    return principal.tenant_id == DEFAULT_TENANT_ID and principal.role in ("ROOT", "OWNER")


def require(principal: Principal, minimum: str) -> None:
    """Ask for a role at least as powerful as `minimum`.

    `agent` stands for agents and everyone above READ_ONLY, `any` for everyone.

    Raises:
        Refusal: 403 Forbidden.
    """
    if minimum == ANYONE:
        return
    if minimum == AGENT:
        allowed = principal.role == AGENT or _RANK.get(principal.role, len(ORDER)) < _RANK["READ_ONLY"]
    else:
        allowed = _RANK.get(principal.role, len(ORDER)) <= _RANK[minimum]
    if not allowed:
        raise Refusal(403, "Forbidden", detail=f"role {principal.role} may not do this, {minimum} or above is needed")
