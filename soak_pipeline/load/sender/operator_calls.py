"""What the fan-out asks of the platform as its operator: find, revoke and grant a permission.

Owns these three calls, on a connection of their own. They are no load and leave no record.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from soak_pipeline.load.sender.account import token_of
from soak_pipeline.load.sender.client import Reply
from soak_pipeline.load.sender.operations import render
from soak_pipeline.load.sender.runtime import LoadRuntime


class OperatorRefused(Exception):
    """The platform did not do what the operator asked; the text says what and how it answered."""


class _Permission(msgspec.Struct):
    # It goes into the path of a request: nothing that could be more than an id may pass.
    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}\Z")]
    tool_name: str


class _Permissions(msgspec.Struct):
    data: list[_Permission]


class OperatorCalls:
    """The operator, acting on one tenant.

    Args:
        runtime: of the process.
        email, password: the operator's credentials.
        tenant_id: of the tenant.
    """

    def __init__(self, runtime: LoadRuntime, email: str, password: str, tenant_id: str) -> None:
        self._runtime = runtime
        self._connection = runtime.connection()
        self._email = email
        self._password = password
        self._tenant_id = tenant_id
        self._token = ""

    def log_in(self) -> None:
        """Gets a token.

        Raises:
            OperatorRefused: there is none.
        """
        body = {"email": self._email, "password": self._password}
        reply = self._call("POST", "/auth/token", body, login=True)
        token, _ = token_of(reply) if reply.status == 200 else ("", 0.0)
        if not token:
            raise OperatorRefused(f"the operator's login answered {_answer(reply)}")
        self._token = token

    def permission_id(self, agent_id: str, tool: str) -> str:
        """Id of an agent's permission for a tool.

        Raises:
            OperatorRefused: it has none, or the platform does not say.
        """
        reply = self._call("GET", f"/agents/{agent_id}/permissions")
        try:
            permissions = msgspec.json.decode(reply.body, type=_Permissions).data
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            permissions = []
        for permission in permissions:
            if permission.tool_name == tool:
                return permission.id
        raise OperatorRefused(
            f"agent {agent_id} has no permission for {tool} to revoke; its permissions answered {_answer(reply)}"
        )

    def revoke(self, agent_id: str, permission_id: str) -> None:
        """Revokes a permission; in force once this returns.

        Raises:
            OperatorRefused: it was not revoked.
        """
        reply = self._call("DELETE", f"/agents/{agent_id}/permissions/{permission_id}")
        if reply.status not in (200, 204):
            raise OperatorRefused(f"revoking a permission of agent {agent_id} answered {_answer(reply)}")

    def grant(self, agent_id: str, tool: str) -> None:
        """Grants a permission; in force once this returns.

        Raises:
            OperatorRefused: it was not granted.
        """
        reply = self._call("POST", f"/agents/{agent_id}/permissions", {"tool_name": tool, "action": "ALLOW"})
        if reply.status not in (200, 201, 409):
            raise OperatorRefused(f"granting a permission to agent {agent_id} answered {_answer(reply)}")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, login: bool = False) -> Reply:
        headers = f"X-Request-ID: {uuid.uuid4()}"
        if not login:
            headers = f"Authorization: Bearer {self._token}\r\nX-Tenant-ID: {self._tenant_id}\r\n{headers}"
        template = render(self._runtime.authority, method, path, body)
        self._runtime.admit()
        return self._connection.exchange(template.head + headers.encode() + template.tail)


def _answer(reply: Reply) -> str:
    return str(reply.status) if reply.failure is None else f"nothing ({reply.failure})"
