"""What the fan-out asks of the platform as its operator: find, revoke and grant a permission.

Owns these three calls, on a connection of their own. They are no load and leave no record.
"""

from __future__ import annotations

import uuid

import msgspec

from soak_pipeline.dialect.requests import Request
from soak_pipeline.load.sender.account import token_of
from soak_pipeline.load.sender.client import Reply
from soak_pipeline.load.sender.operations import caller_headers, render, request_id_header
from soak_pipeline.load.sender.runtime import LoadRuntime


class OperatorRefused(Exception):
    """The platform did not do what the operator asked; the text says what and how it answered."""


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
        self._dialect = runtime.dialect
        self._words = runtime.dialect.provisioning
        self._token = ""

    def log_in(self) -> None:
        """Gets a token.

        Raises:
            OperatorRefused: there is none.
        """
        self._token = ""
        reply = self._call(self._dialect.tokens.sign_in(self._email, self._password))
        token = token_of(self._dialect, reply).text if reply.status == 200 else ""
        if not token:
            raise OperatorRefused(f"the operator's login answered {_answer(reply)}")
        self._token = token

    def permission_id(self, agent_id: str, tool: str) -> str:
        """Id of an agent's permission for a tool.

        Raises:
            OperatorRefused: it has none, or the platform does not say.
        """
        reply = self._call(self._words.list_permissions(agent_id))
        try:
            rules = self._words.rules_in(self._dialect.envelope.payload_of(msgspec.json.decode(reply.body)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rules = {}
        if tool in rules:
            return rules[tool].rule_id
        raise OperatorRefused(
            f"agent {agent_id} has no permission for {tool} to revoke; its permissions answered {_answer(reply)}"
        )

    def revoke(self, agent_id: str, permission_id: str) -> None:
        """Revokes a permission; in force once this returns.

        Raises:
            OperatorRefused: it was not revoked.
        """
        reply = self._call(self._words.revoke(agent_id, permission_id))
        if reply.status not in (200, 204):
            raise OperatorRefused(f"revoking a permission of agent {agent_id} answered {_answer(reply)}")

    def grant(self, agent_id: str, tool: str) -> None:
        """Grants a permission; in force once this returns.

        Raises:
            OperatorRefused: it was not granted.
        """
        reply = self._call(self._words.grant(agent_id, tool))
        if reply.status not in (200, 201, 409):
            raise OperatorRefused(f"granting a permission to agent {agent_id} answered {_answer(reply)}")

    def _call(self, request: Request) -> Reply:
        if self._token:
            headers = caller_headers(self._dialect, self._token, self._tenant_id)
        else:
            headers = request_id_header(self._dialect)
        template = render(self._runtime.authority, request)
        self._runtime.admit()
        return self._connection.exchange(template.head + headers + str(uuid.uuid4()).encode() + template.tail)


def _answer(reply: Reply) -> str:
    return str(reply.status) if reply.failure is None else f"nothing ({reply.failure})"
