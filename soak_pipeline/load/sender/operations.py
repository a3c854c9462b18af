"""What each operation sends, as bytes.

Renders requests once, so that sending one costs a concatenation. Never opens a connection and never looks at an answer
(`classify` does); what a request says is the dialect's.

Attacks and unknown tools use the attack agents, so that the failures that they cause never count against a benign
agent. Requests without a valid token name no tenant: an unauthenticated tenant header could write into that tenant's
records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.dialect.requests import Body, Request
from soak_pipeline.load.authority import Authority
from soak_pipeline.load.sender.schedule import PAYLOAD_VARIANTS
from soak_pipeline.model.plan import TOOLS
from soak_pipeline.model.stage_outputs import ProvisionedTenant
from soak_pipeline.model.traffic import USER_AGENT, Operation


class Template(NamedTuple):
    """A rendered request, but for what differs from one sending to the next.

    Attributes:
        head: request line and fixed headers, each with its line end.
        tail: the empty line and the body.
        with_token: whether the user's own token and tenant headers belong in between.
    """

    head: bytes
    tail: bytes
    with_token: bool


class Catalogue:
    """The rendered requests of one tenant.

    Args:
        authority: where the gateway is.
        dialect: the platform's words.
        tenant: the tenant, with its agents.
        other_tenant_id: id of another tenant, which cross-tenant attacks name.
    """

    def __init__(self, authority: Authority, dialect: Dialect, tenant: ProvisionedTenant, other_tenant_id: str) -> None:
        self._authority = authority
        self._dialect = dialect
        self._tenant = tenant
        self._other_tenant_id = other_tenant_id
        self._depends_on = {operation: self._dependence(operation) for operation in Operation}
        self._rendered: dict[tuple[Operation, int, int, int], Template] = {}

    def template(self, operation: Operation, agent: int, tool: int, variant: int) -> Template:
        """The request of one entry of the schedule; rendered once, so there are few of them."""
        uses_agent, uses_tool, variants = self._depends_on[operation]
        key = (operation, agent if uses_agent else 0, tool if uses_tool else 0, variant % variants)
        found = self._rendered.get(key)
        if found is None:
            found = self._rendered[key] = self._render(*key)
        return found

    def execute(self, agent_id: str, tool: str) -> Template:
        """A benign execution of `tool` by one agent; for the fan-out."""
        return self._execution(tool, self._dialect.execution.benign[tool](0), agent_id)

    def _render(self, operation: Operation, agent: int, tool: int, variant: int) -> Template:
        benign, hostile = self._tenant.benign_agents, self._tenant.attack_agents
        words = self._dialect.execution
        tool_name = TOOLS[tool % len(TOOLS)]
        if operation is Operation.EXECUTE:
            return self._execution(tool_name, words.benign[tool_name](variant), benign[agent % len(benign)])
        if operation in words.attacks:
            payload = words.attacks[operation][variant](self._other_tenant_id)
            return self._execution(tool_name, payload, hostile[agent % len(hostile)])
        if operation is Operation.MISC_UNKNOWN_TOOL:
            return self._execution(words.unknown_tool, words.empty, hostile[agent % len(hostile)])
        if operation is Operation.MISC_OVERSIZE:
            return self._execution(tool_name, words.oversize(), benign[agent % len(benign)])
        if operation in (Operation.MISC_BAD_TOKEN, Operation.MISC_NO_TOKEN):
            request = self._dialect.execute(tool_name, words.benign[tool_name](variant))
            is_bad = operation is Operation.MISC_BAD_TOKEN
            headers = self._dialect.headers.of_token(words.invalid_token) if is_bad else {}
            return render(self._authority, request, headers, with_token=False)
        if operation is Operation.MISC_HEALTH:
            return render(self._authority, self._dialect.health, with_token=False)
        return render(self._authority, self._dialect.reads[operation])

    def _execution(self, tool: str, body: Body, agent_id: str) -> Template:
        return render(self._authority, self._dialect.execute(tool, body, agent_id=agent_id))

    def _dependence(self, operation: Operation) -> tuple[bool, bool, int]:
        """Whether a request differs by agent and by tool, and how many payloads it has; bounds what is kept."""
        if operation in self._dialect.execution.attacks:
            return True, True, len(self._dialect.execution.attacks[operation])
        special = {
            Operation.EXECUTE: (True, True, PAYLOAD_VARIANTS),
            Operation.MISC_UNKNOWN_TOOL: (True, False, 1),
            Operation.MISC_OVERSIZE: (True, False, 1),
            Operation.MISC_BAD_TOKEN: (False, True, PAYLOAD_VARIANTS),
            Operation.MISC_NO_TOKEN: (False, True, PAYLOAD_VARIANTS),
        }
        return special.get(operation, (False, False, 1))


def render(
    authority: Authority, request: Request, headers: Mapping[str, str] | None = None, *, with_token: bool = True
) -> Template:
    """A request as bytes, but for token, tenant and request id.

    Args:
        authority: where the gateway is.
        request: what is called.
        headers: beside those of the request.
        with_token: see `Template`.
    """
    content = b"" if request.body is None else json.dumps(request.body, separators=(",", ":")).encode()
    own = {**(headers or {}), **request.headers}
    if request.method != "GET":
        own |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    query = f"?{urlencode(request.query)}" if request.query else ""
    fixed = {
        "Host": authority.host_header,
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }
    head = f"{request.method} {authority.base_path}{request.path}{query} HTTP/1.1\r\n{header_lines(fixed | own)}"
    return Template(head.encode("latin-1"), b"\r\n\r\n" + content, with_token)


def header_lines(headers: Mapping[str, str]) -> str:
    """Headers as they are sent, each with its line end."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def caller_headers(dialect: Dialect, token: str, tenant_id: str) -> bytes:
    """Token and tenant headers, up to and including the name of the request-id header."""
    return header_lines(dialect.headers.of_caller(token, tenant_id)).encode() + request_id_header(dialect)


def request_id_header(dialect: Dialect) -> bytes:
    """The request-id header without its value."""
    return f"{dialect.headers.request_id}: ".encode()
