"""The route table: which handler answers which path, who may call it, and how its calls are admitted.

Owns matching. Templates are also the `path` label of the metrics, so no path with an id in it ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from infra.acp.gateway import accounts, agents, execute, records
from infra.acp.gateway.audit_reads import AuditReads
from infra.acp.gateway.http import Request, Response
from infra.acp.gateway.services import Services
from infra.acp.gateway.status import Status

Handler = Callable[[Services, Request], Awaitable[Response]]


class Access(Enum):
    """How a route's calls are treated.

    PUBLIC: no token, no quota, no audit row. MANAGEMENT: token and quota, and an audit row written by the application;
    the caller may act on another tenant if it administers the platform. EXECUTE: token and quota, the handler writes
    what there is to write.
    """

    PUBLIC = "public"
    MANAGEMENT = "management"
    EXECUTE = "execute"


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table. `role` is the least role that may call it. `reads_rows`: it shares the database slots."""

    method: str
    template: str
    handler: Handler
    access: Access = Access.MANAGEMENT
    role: str = "READ_ONLY"
    reads_rows: bool = False


class Router:
    """Finds the route of a method and a path. Whole paths are looked up, templates are matched part by part."""

    def __init__(self, routes: list[Route]) -> None:
        self._whole = {(route.method, route.template): route for route in routes if "{" not in route.template}
        self._templates: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        for route in routes:
            if "{" in route.template:
                parts = route.template.split("/")
                self._templates.setdefault((route.method, len(parts)), []).append((parts, route))
        self._methods = sorted({route.method for route in routes})

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
        """The route, and what stands in the places of its template; none when nothing matches."""
        route = self._whole.get((method, path))
        if route is not None:
            return route, ()
        given = path.split("/")
        for parts, candidate in self._templates.get((method, len(given)), ()):
            values = [have for want, have in zip(parts, given, strict=True) if want[:1] == "{"]
            if all(values) and all(want == have for want, have in zip(parts, given, strict=True) if want[:1] != "{"):
                return candidate, tuple(values)
        return None

    def allowed_methods(self, path: str) -> list[str]:
        """The methods that a path has routes for."""
        return [method for method in self._methods if self.find(method, path) is not None]


def routes(audit: AuditReads, status: Status) -> list[Route]:
    """The whole surface."""
    public, executes = Access.PUBLIC, Access.EXECUTE
    return [
        Route("GET", "/health", status.health, public),
        Route("GET", "/status", status.status, public),
        Route("GET", "/system/health", status.system_health, public),
        Route("GET", "/metrics", status.metrics, public),
        Route("GET", "/transparency/key", records.transparency_key, public),
        Route("POST", "/auth/token", accounts.login, public),
        Route("POST", "/auth/agent/token", accounts.agent_login, public),
        Route("POST", "/auth/register", accounts.register, public),
        Route("POST", "/auth/refresh", accounts.refresh, role="any"),
        Route("POST", "/auth/logout", accounts.logout, role="any"),
        Route("GET", "/auth/me", accounts.me, role="any"),
        Route("POST", "/auth/tenants", accounts.change_tenant, role="OWNER"),
        Route("GET", "/auth/tenants/{tenant_id}", accounts.show_tenant, role="ADMIN"),
        Route("POST", "/auth/users", accounts.create_user, role="ADMIN"),
        Route("POST", "/auth/credentials", accounts.set_credential, role="ADMIN"),
        Route("POST", "/agents", agents.create_agent, role="ADMIN"),
        Route("GET", "/agents", agents.list_agents),
        Route("GET", "/agents/{agent_id}", agents.show_agent),
        Route("POST", "/agents/{agent_id}/permissions", agents.grant, role="ADMIN"),
        Route("GET", "/agents/{agent_id}/permissions", agents.list_permissions),
        Route("DELETE", "/agents/{agent_id}/permissions/{permission_id}", agents.revoke, role="ADMIN"),
        Route("GET", "/decision/kill-switch/{tenant_id}", agents.show_kill_switch),
        Route("POST", "/decision/kill-switch/{tenant_id}", agents.switch_kill, role="SECURITY_ANALYST"),
        Route("DELETE", "/decision/kill-switch/{tenant_id}", agents.switch_kill, role="SECURITY_ANALYST"),
        Route("GET", "/tenant/quota", agents.quota),
        Route("POST", "/execute", execute.execute, executes, role="agent"),
        Route("POST", "/execute/{tool}", execute.execute, executes, role="agent"),
        Route("GET", "/audit/logs", audit.logs, reads_rows=True),
        Route("POST", "/audit/logs/search", audit.search, reads_rows=True),
        Route("GET", "/audit/logs/summary", audit.summary, reads_rows=True),
        Route("GET", "/audit/logs/verify", audit.verify, reads_rows=True),
        Route("GET", "/audit/chain/verify", audit.verify, reads_rows=True),
        Route("GET", "/audit/export", audit.export),
        Route("GET", "/usage/summary", records.usage_summary, reads_rows=True),
        Route("GET", "/usage/dashboard", records.usage_dashboard, reads_rows=True),
        Route("GET", "/flight/timelines", records.timelines, reads_rows=True),
        Route("GET", "/flight/timeline/by-request/{request_id}", records.timeline_by_request, reads_rows=True),
        Route("GET", "/transparency/roots", records.roots, reads_rows=True),
        Route("POST", "/transparency/compute", records.compute_root, role="ADMIN"),
        Route("POST", "/transparency/verify-root", records.verify_root),
        Route("GET", "/graph/agents", records.graph_agents, reads_rows=True),
        Route("GET", "/graph/agent/{agent_id}", records.graph_agent, reads_rows=True),
    ]
