"""The token of one virtual user: login, refresh before it expires, login again when it was refused.

Owns token and password, in memory only: neither is in a repr, a record or a sample. Logins and refreshes are recorded
as kind `auth`, with sequence numbers of their own, so they never mix with the schedule.
"""

from __future__ import annotations

import math
import re
import time

import msgspec

from soak_pipeline.load.sender.classify import classify
from soak_pipeline.load.sender.client import Connection, Reply
from soak_pipeline.load.sender.operations import render
from soak_pipeline.load.sender.runtime import LoadRuntime
from soak_pipeline.load.sender.schedule import AUTH_SEQUENCE_BASE
from soak_pipeline.model.stage_outputs import ProvisionedTenant
from soak_pipeline.model.traffic import Operation

REFRESH_FROM_SHARE, REFRESH_TO_SHARE = 0.6, 0.8
"""Users refresh between these parts of a token's life, each at its own, so no ramp comes back as a spike."""

RETRY_AFTER_S = 5.0
"""Pause before another try when neither refresh nor login gave a token."""

DEFAULT_LIFE_S = 900.0

_COOKIE = re.compile(rb"(?:^|;\s*)acp_token=([^;]+)")
_TOKEN_FORM = re.compile(r"[A-Za-z0-9._~+/=-]{1,8192}")


class _TokenData(msgspec.Struct):
    access_token: str
    expires_in: float = DEFAULT_LIFE_S


class _TokenBody(msgspec.Struct):
    data: _TokenData


_TOKEN_BODY = msgspec.json.Decoder(_TokenBody)


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
        body = {"email": self._tenant.user_email, "password": self._password}
        headers = f"X-Tenant-ID: {self._tenant.tenant_id}\r\n"
        template = render(self._runtime.authority, "POST", "/auth/token", body, headers, with_token=False)
        reply = self._exchange(Operation.LOGIN, template.head + b"X-Request-ID: ", template.tail, window)
        self.refused = reply.status in (401, 403)
        return self._take(reply)

    def renew(self, window: int) -> None:
        """Refreshes the token, or logs in again where that is not possible."""
        template = render(self._runtime.authority, "POST", "/auth/refresh", {})
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
        outcome = reply.failure or classify(operation, reply.status, reply.body, request_id)
        self._runtime.record(
            self._tenant.name, self._user, sequence, window, False, operation, outcome, reply, start_s, start_s, end_s
        )
        return reply

    def _take(self, reply: Reply) -> bool:
        if reply.status != 200:
            return False
        token, life_s = token_of(reply)
        if not token:
            return False
        self._token = token
        self.headers = (
            f"Authorization: Bearer {token}\r\nX-Tenant-ID: {self._tenant.tenant_id}\r\nX-Request-ID: ".encode()
        )
        self.renew_at_s = time.monotonic() + life_s * self._refresh_share
        return True


def token_of(reply: Reply) -> tuple[str, float]:
    """Token and life (seconds) of an answer; from the body, else from the cookie; empty when it has none."""
    try:
        data = _TOKEN_BODY.decode(reply.body).data
        token, life_s = data.access_token, data.expires_in
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        cookie = _COOKIE.search(reply.response.header(b"set-cookie") or b"") if reply.response else None
        token, life_s = (cookie.group(1).decode("latin-1") if cookie else ""), DEFAULT_LIFE_S
    # Whatever the platform sends goes into a header of ours: nothing but a token may pass.
    if not _TOKEN_FORM.fullmatch(token) or not 1.0 <= life_s <= 1e9:
        return "", DEFAULT_LIFE_S
    return token, life_s
