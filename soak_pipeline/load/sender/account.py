"""The token of one virtual user: login, refresh before it expires, login again when it was refused.

Owns token and password, in memory only: neither is in a repr, a record or a sample. Logins and refreshes are recorded
as kind `auth`, with sequence numbers of their own, so they never mix with the schedule.
"""

from __future__ import annotations

import math
import time

from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.dialect.tokens import Token
from soak_pipeline.load.sender.classify import classify
from soak_pipeline.load.sender.client import Connection, Reply
from soak_pipeline.load.sender.operations import caller_headers, render, request_id_header
from soak_pipeline.load.sender.runtime import LoadRuntime
from soak_pipeline.load.sender.schedule import AUTH_SEQUENCE_BASE
from soak_pipeline.model.stage_outputs import ProvisionedTenant
from soak_pipeline.model.traffic import Operation

REFRESH_FROM_SHARE, REFRESH_TO_SHARE = 0.6, 0.8
"""Users refresh between these parts of a token's life, each at its own, so no ramp comes back as a spike."""

RETRY_AFTER_S = 5.0
"""Pause before another try when neither refresh nor login gave a token."""


class Account:
    """The account of one virtual user.

    Args:
        runtime: of the process.
        connection: the user's own.
        tenant: whose account it is.
        password: of the account.
        user: index of the virtual user in the session.
        refresh_place: where between the two shares of a token's life this user refreshes (0..1).

    Attributes:
        headers: token and tenant headers, up to and including the name of the request-id header.
        renew_at_s: when the token wants to be renewed, monotonic clock; infinite before the first login.
        refused: whether the last login was refused as such (401 or 403).
    """

    def __init__(
        self,
        runtime: LoadRuntime,
        connection: Connection,
        tenant: ProvisionedTenant,
        password: str,
        user: int,
        refresh_place: float,
    ) -> None:
        self._runtime = runtime
        self._connection = connection
        self._tenant = tenant
        self._password = password
        self._user = user
        self._refresh_share = REFRESH_FROM_SHARE + (REFRESH_TO_SHARE - REFRESH_FROM_SHARE) * refresh_place
        self._sequence = AUTH_SEQUENCE_BASE
        self._token = ""
        self.headers = b""
        self.renew_at_s = math.inf
        self.refused = False

    def login(self, window: int) -> bool:
        """Gets a token with the password.

        Args:
            window: index of the window that the request belongs to.

        Returns:
            Whether there is one now.
        """
        dialect = self._runtime.dialect
        request = dialect.tokens.sign_in(self._tenant.user_email, self._password)
        tenant = {dialect.headers.tenant: self._tenant.tenant_id}
        template = render(self._runtime.authority, request, tenant, with_token=False)
        reply = self._exchange(Operation.LOGIN, template.head + request_id_header(dialect), template.tail, window)
        self.refused = reply.status in (401, 403)
        return self._take(reply)

    def renew(self, window: int) -> None:
        """Refreshes the token, or logs in again where that is not possible."""
        template = render(self._runtime.authority, self._runtime.dialect.tokens.refresh())
        reply = self._exchange(Operation.REFRESH, template.head + self.headers, template.tail, window)
        if not self._take(reply) and not self.login(window):
            self.renew_at_s = time.monotonic() + RETRY_AFTER_S

    def expire(self) -> None:
        """Notes that the platform refused the token: it is replaced before the next request."""
        self._token = ""
        self.renew_at_s = 0.0

    def replace_if_due(self, window: int) -> None:
        """Replaces a token that is due or was refused."""
        if self._token:
            self.renew(window)
        elif not self.login(window):
            self.renew_at_s = time.monotonic() + RETRY_AFTER_S

    def _exchange(self, operation: Operation, head: bytes, tail: bytes, window: int) -> Reply:
        sequence = self._sequence
        self._sequence += 1
        request_id = self._runtime.request_id(self._user, sequence)
        start_s = self._runtime.admit()
        reply = self._connection.exchange(head + request_id.encode() + tail)
        end_s = time.monotonic()
        outcome = reply.failure or classify(
            self._runtime.dialect.answers, operation, reply.status, reply.body, request_id
        )
        self._runtime.record(
            self._tenant.name, self._user, sequence, window, False, operation, outcome, reply, start_s, start_s, end_s
        )
        return reply

    def _take(self, reply: Reply) -> bool:
        if reply.status != 200:
            return False
        token = token_of(self._runtime.dialect, reply)
        if not token.text:
            return False
        self._token = token.text
        self.headers = caller_headers(self._runtime.dialect, token.text, self._tenant.tenant_id)
        self.renew_at_s = time.monotonic() + token.life_s * self._refresh_share
        return True


def token_of(dialect: Dialect, reply: Reply) -> Token:
    """The token of an answer; see `Tokens.token_in`."""
    cookies = reply.response.values(b"set-cookie") if reply.response else []
    return dialect.token_in(reply.body, b", ".join(cookies).decode("latin-1"))
