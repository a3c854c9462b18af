"""The operator's client of the gateway: sign-in, one bounded request, and the errors it ends in.

Owns the conversation over HTTP outside the load. Never follows a redirect, never uses a proxy, never reads an answer
without a limit, and never puts a token or password into a message.
"""

from __future__ import annotations

import re
import threading
import time
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from soak_pipeline.dialect.requests import Envelope, Request
from soak_pipeline.dialect.tokens import Token
from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.traffic import USER_AGENT
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.transport import DEADLINE_TIMEOUTS, ExchangeTransport, no_cookies

MAX_ANSWER_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 10.0
_RENEW_BEFORE_EXPIRY_S = 60.0
_TOKEN = re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\uffff]+")


class GatewayRefused(TargetFailed):
    """The gateway answered, but not as the operator needs; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class GatewayUnreachable(TargetFailed):
    """No whole answer arrived: no connection, a timeout, a broken or oversized answer."""


class Answer(msgspec.Struct, frozen=True):
    """One answer of the gateway.

    Attributes:
        status: HTTP status.
        headers: names in lower case.
        body: at most `MAX_ANSWER_BYTES`.
        envelope: that the platform puts around payloads.
        received_at: our clock when the headers were there, unix seconds.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    envelope: Envelope
    received_at: float

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            GatewayUnreachable: it is none.
        """
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise GatewayUnreachable(
                f"the gateway answered {self.status} with {len(self.body)} bytes that are not JSON"
            ) from None

    def data(self) -> Any:
        """The payload of the envelope, or the whole body where there is no envelope.

        Raises:
            GatewayUnreachable: the body is not JSON.
        """
        return self.envelope.payload_of(self.json())

    def error(self) -> str:
        """What the answer says is wrong, shortened; empty when it says nothing."""
        try:
            return self.envelope.error_of(msgspec.json.decode(self.body))[:200]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""


class Gateway:
    """Requests to one gateway in the operator's name; safe to use from several threads at once.

    The operator's token is taken at the first call and renewed before it expires, or when the gateway refuses it.

    Args:
        resolved: the target.
        timeout_s: longest wait for a connection, for each read, and for each write; a whole exchange takes at most
            `DEADLINE_TIMEOUTS` times that (seconds).
        connections: connections kept open, and so the most calls that are under way at once.
        transport: for tests.

    Attributes:
        resolved: the target.
        dialect: the platform's words.
    """

    def __init__(
        self,
        resolved: ResolvedTarget,
        *,
        timeout_s: float = TIMEOUT_S,
        connections: int = 8,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.resolved = resolved
        self.dialect = resolved.dialect
        self._client = httpx.Client(
            base_url=resolved.gateway_url,
            timeout=timeout_s,
            # The environment must not redirect what we send: no proxy, no .netrc.
            trust_env=False,
            follow_redirects=False,
            # A compressed answer could grow without limit when it is unpacked.
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            # A kept cookie would sign in calls that are meant to carry another token, or none.
            cookies=no_cookies(),
            transport=transport or ExchangeTransport(connections=connections, deadline_s=DEADLINE_TIMEOUTS * timeout_s),
        )
        self._token = ""
        self._token_expires_at = 0.0
        self._token_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def call(
        self,
        request: Request,
        *,
        tenant_id: str | None = None,
        expect: tuple[int, ...] = (HTTPStatus.OK, HTTPStatus.CREATED),
    ) -> Answer:
        """One call as the operator.

        Args:
            request: what is called.
            tenant_id: the tenant it is about; None for the operator's own.
            expect: statuses that are an answer; any other is an error.

        Raises:
            GatewayRefused: another status.
            GatewayUnreachable: no whole answer.
        """
        for attempt in (1, 2):
            token = self._operator_token()
            answer = self.send(request, token=token, tenant_id=tenant_id)
            if answer.status != HTTPStatus.UNAUTHORIZED or attempt == 2:
                break
            self._forget(token)
        if answer.status not in expect:
            raise self._refused(request, answer, expect)
        return answer

    def send(
        self,
        request: Request,
        *,
        token: str | None = None,
        tenant_id: str | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """One request under any token or none; whatever status comes is an answer.

        Raises:
            GatewayUnreachable: no whole answer.
        """
        names = self.dialect.headers
        sent = {**request.headers}
        if token is not None:
            sent |= names.of_token(token)
        if tenant_id is not None:
            sent[names.tenant] = tenant_id
        if request_id is not None:
            sent[names.request_id] = request_id
        content = None
        if request.body is not None:
            sent["Content-Type"] = "application/json"
            content = msgspec.json.encode(request.body)
        try:
            with self._client.stream(
                request.method, request.path, headers=sent, content=content, params=request.query or None
            ) as response:
                received_at = time.time()
                body = _bounded_body(response)
                return Answer(response.status_code, dict(response.headers), body, self.dialect.envelope, received_at)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise GatewayUnreachable(
                f"{request} at {self.resolved.gateway_url}: no answer ({type(error).__name__});"
                " is the platform running and the address right?"
            ) from None

    def login(self, email: str, password: str, *, tenant_id: str | None = None) -> Token:
        """Signs in.

        Raises:
            GatewayRefused: wrong credentials, or an answer without a token.
            GatewayUnreachable: no whole answer.
        """
        request = self.dialect.tokens.sign_in(email, password)
        answer = self.send(request, tenant_id=tenant_id)
        if answer.status != HTTPStatus.OK:
            raise self._refused(request, answer, (HTTPStatus.OK,))
        token = self.dialect.token_in(answer.body, answer.headers.get("set-cookie", ""))
        if not token.text:
            raise GatewayRefused(f"{request} answered 200 without a token in body or cookie", answer.status)
        return token

    def _operator_token(self) -> str:
        with self._token_lock:
            if time.monotonic() >= self._token_expires_at:
                token = self.login(self.resolved.admin_email, self.resolved.admin_password)
                self._token = token.text
                margin_s = min(_RENEW_BEFORE_EXPIRY_S, token.life_s / 2)
                self._token_expires_at = time.monotonic() + token.life_s - margin_s
            return self._token

    def _forget(self, token: str) -> None:
        """Makes the next call sign in again, unless another thread has done so already."""
        with self._token_lock:
            if self._token == token:
                self._token_expires_at = 0.0

    def _refused(self, request: Request, answer: Answer, expect: tuple[int, ...]) -> GatewayRefused:
        detail = f" ({self._scrubbed(error)})" if (error := answer.error()) else ""
        wanted = " or ".join(str(int(status)) for status in expect)
        return GatewayRefused(f"{request} answered {answer.status}{detail}, expected {wanted}", answer.status)

    def _scrubbed(self, text: str) -> str:
        """The platform's words without secrets that it may have repeated, nor anything that a terminal acts upon."""
        for secret in filter(None, self.resolved.secrets()):
            text = text.replace(secret, "***")
        return _UNPRINTABLE.sub(" ", _TOKEN.sub("***", text))


def _bounded_body(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("compressed although not asked to be", request=response.request)
    parts = []
    size = 0
    for part in response.iter_raw():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise httpx.DecodingError("answer is too large", request=response.request)
        parts.append(part)
    return b"".join(parts)
