"""A platform small enough to be read at a glance, for what the operator's client must get right.

The real reference platform is used by the integration tests; this one can also misbehave.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from soak_pipeline_tests.target.examples import ADMIN_EMAIL, ADMIN_PASSWORD

Answer = tuple[int, object]


@dataclass
class SmallPlatform:
    """Answers the calls of provisioning and of the stop lever.

    Attributes:
        honours_levers: whether a blocked tenant is refused.
        override: asked first; an answer of it is given instead.
        calls: how often each method and path template was called.
    """

    honours_levers: bool = True
    override: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
    tenants: dict[str, dict[str, object]] = field(default_factory=dict)
    users: dict[str, tuple[str, str]] = field(default_factory=lambda: {ADMIN_EMAIL: (ADMIN_PASSWORD, "operator")})
    agents: dict[str, dict[str, str]] = field(default_factory=dict)
    permissions: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def _handle(self, request: httpx.Request) -> httpx.Response:
        response = self.override(request)
        if response is None:
            status, body = self._answer(request)
            response = httpx.Response(status, json=body)
        if not response.is_stream_consumed:
            return response
        # A response made from content counts as read; a client that streams needs one that is not.
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(response.content))

    def _answer(self, request: httpx.Request) -> Answer:
        parts = request.url.path.strip("/").split("/")
        body = json.loads(request.content) if request.content else {}
        self.calls[f"{request.method} /{parts[0]}" + ("/token" if parts[-1] == "token" else "")] += 1
        if parts == ["health"]:
            return 200, {"status": "healthy"}
        if parts == ["auth", "token"]:
            return self._login(body)
        caller = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if caller is None:
            return 401, {"success": False, "error": "Unauthorized", "meta": {"code": 401}}
        tenant_id = request.headers.get("x-tenant-id", "")
        if parts[0] == "execute":
            return self._execute(tenant_id, request.headers.get("x-agent-id", ""), parts[1])
        if caller != "operator":
            return 403, {"error": "Forbidden"}
        return self._operate(request.method, parts, tenant_id, body)

    def _login(self, body: dict[str, str]) -> Answer:
        password, caller = self.users.get(body["email"], ("", ""))
        if not password or password != body["password"]:
            return 401, {"success": False, "error": "Invalid credentials"}
        token = f"header.{uuid.uuid4().hex}.signature"
        self.tokens[token] = caller
        return 200, {"success": True, "data": {"access_token": token, "expires_in": 900}}

    def _execute(self, tenant_id: str, agent_id: str, tool: str) -> Answer:
        if self.honours_levers and self.tenants[tenant_id]["rpm_limit"] == 0:
            return 429, {"success": False, "error": "rate_limited"}
        if self.honours_levers and tenant_id in self.killed:
            return 403, {"success": False, "error": "tenant killed"}
        rule = self.permissions.get(agent_id, {}).get(tool)
        return (200, {"success": True, "action": "allow"}) if rule and rule["action"] == "ALLOW" else (403, {})

    def _operate(self, method: str, parts: list[str], tenant_id: str, body: dict[str, object]) -> Answer:
        match (method, *parts):
            case ("POST", "auth", "tenants"):
                self.tenants[str(body["tenant_id"])] = body
                return 201, {"status": "ok", **body}
            case ("POST", "auth", "users"):
                if body["email"] in self.users:
                    return 400, {"success": False, "error": "A user with this e-mail address exists"}
                self.users[str(body["email"])] = (str(body["password"]), tenant_id)
                return 201, {"data": {"id": str(uuid.uuid4())}}
            case ("GET", "agents"):
                return 200, {
                    "data": [{"id": id_, "name": name} for name, id_ in self.agents.get(tenant_id, {}).items()]
                }
            case ("POST", "agents"):
                names = self.agents.setdefault(tenant_id, {})
                if body["name"] in names:
                    return 409, {"error": "exists"}
                names[str(body["name"])] = str(uuid.uuid4())
                return 201, {"data": {"id": names[str(body["name"])]}}
            case ("GET", "agents", agent_id, "permissions"):
                return 200, {
                    "data": [{"tool_name": tool, **rule} for tool, rule in self.permissions.get(agent_id, {}).items()]
                }
            case ("POST", "agents", agent_id, "permissions"):
                rules = self.permissions.setdefault(agent_id, {})
                if body["tool_name"] in rules:
                    return 409, {"error": "exists"}
                rules[str(body["tool_name"])] = {"id": str(uuid.uuid4()), "action": str(body["action"])}
                return 201, {"data": rules[str(body["tool_name"])]}
            case ("DELETE", "agents", agent_id, "permissions", rule_id):
                rules = self.permissions[agent_id]
                self.permissions[agent_id] = {tool: rule for tool, rule in rules.items() if rule["id"] != rule_id}
                return 200, {"data": {}}
            case ("GET", "decision", "kill-switch", switched):
                return 200, {"data": {"status": "engaged" if switched in self.killed else "disengaged"}}
            case ("POST", "decision", "kill-switch", switched):
                self.killed.add(switched)
                return 200, {"data": {"status": "engaged"}}
            case ("DELETE", "decision", "kill-switch", switched):
                self.killed.discard(switched)
                return 200, {"data": {"status": "disengaged"}}
        return 404, {"error": "Not found"}
