"""Requests, responses and refusals: the few HTTP notions that the handlers share.

Owns reading a request from ASGI within the size limit, and the envelopes of the answers. It knows no route.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from infra.acp.gateway.admission import Admission
from infra.acp.gateway.tokens import Principal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
Model = TypeVar("Model")

JSON_CONTENT: Header = (b"content-type", b"application/json")
NDJSON_CONTENT: Header = (b"content-type", b"application/x-ndjson")

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

encode_json = msgspec.json.Encoder().encode
decode_json = msgspec.json.Decoder().decode


@dataclass(slots=True)
class Response:
    """An answer: `body` whole, or `stream` in chunks of bytes."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    content: Header = JSON_CONTENT
    stream: AsyncIterator[bytes] | None = None


class Refusal(Exception):
    """A request ends here with an error answer.

    Args:
        status: HTTP status.
        error: the text of `error` in the body.
        headers: added to the answer.
        extra: further keys of the body, beside `success`, `error` and `meta`.
    """

    def __init__(self, status: int, error: str, *, headers: tuple[Header, ...] = (), **extra: Any) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers
        self.extra = extra

    def response(self) -> Response:
        meta = {"code": self.status, **self.extra.get("meta", {})}
        body = {"success": False, "error": self.error, **self.extra, "meta": meta}
        return Response(self.status, encode_json(body), self.headers)


@dataclass(slots=True)
class Request:
    """One call as the handlers see it. `principal` and `admission` are set before any protected handler runs.

    `tenant_id` is the tenant acted upon: the caller's own, or the one an administrator of the platform names.
    `started_at` is unix seconds, `started_clock` monotonic seconds.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    query_string: bytes
    client: str
    started_at: float
    started_clock: float
    request_id: str = ""
    params: tuple[str, ...] = ()
    body: bytes = b""
    principal: Principal | None = None
    admission: Admission | None = None
    tenant_id: str = ""
    _query: dict[str, str] | None = field(default=None)

    def header(self, name: bytes) -> str:
        """A header by its lower-case name, empty when absent."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def caller(self) -> Principal:
        if self.principal is None:
            raise RuntimeError(f"{self.method} {self.path} is not a protected route")
        return self.principal

    @property
    def admitted(self) -> Admission:
        if self.admission is None:
            raise RuntimeError(f"{self.method} {self.path} has not been admitted")
        return self.admission

    @property
    def query(self) -> dict[str, str]:
        if self._query is None:
            self._query = dict(parse_qsl(self.query_string.decode("latin-1")))
        return self._query

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object.

        Raises:
            Refusal: 400, the body is no JSON object.
        """
        if not self.body:
            return {}
        try:
            value = decode_json(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"Security: Malformed JSON: {error}") from None
        if not isinstance(value, dict):
            raise Refusal(400, f"Security: Malformed JSON: the body is a {type(value).__name__}, must be an object")
        return value

    def json_as(self, model: type[Model]) -> Model:
        """The body as one of the models of the surface.

        Raises:
            Refusal: 400 when it is no JSON, 422 when it does not fit the model.
        """
        try:
            return msgspec.json.decode(self.body or b"{}", type=model)
        except msgspec.ValidationError as error:
            raise validation_failed(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"Security: Malformed JSON: {error}") from None

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query string.

        Raises:
            Refusal: 422, it is no number or outside [low, high].
        """
        text = self.query.get(name)
        if text is None:
            return default
        try:
            value = int(text)
        except ValueError:
            raise validation_failed(f"{name} is {text[:40]!r}, must be a whole number") from None
        if not low <= value <= high:
            raise validation_failed(f"{name} is {value}, must be from {low} to {high}")
        return value

    def uuid(self, name: str) -> str | None:
        """A UUID of the query string in canonical form, or none; 422 when it is something else."""
        text = self.query.get(name)
        return None if text is None else parse_uuid(text, name)

    def instant(self, name: str) -> datetime | None:
        """An ISO 8601 time of the query string, UTC when it names no zone, or none; 422 when it is something else."""
        text = self.query.get(name)
        return None if text is None else parse_instant(text.replace(" ", "+"), name)


def parse_uuid(text: str, name: str, status: int = 422) -> str:
    """A UUID in canonical lower-case form; Refusal with `status` when it is none."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        raise Refusal(status, f"{name} is not a UUID") from None


def parse_instant(text: str, name: str) -> datetime:
    """An aware time from ISO 8601; Refusal 422 when it is none."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise validation_failed(f"{name} is {text[:40]!r}, must be an ISO 8601 time") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def validation_failed(*details: str) -> Refusal:
    return Refusal(422, "Validation failed", meta={"details": list(details)})


def enveloped(data: Any, *, status: int = 200, headers: tuple[Header, ...] = ()) -> Response:
    """The envelope of a successful answer of a service."""
    return Response(status, encode_json({"success": True, "data": data, "error": None, "meta": None}), headers)


def bare(data: Any, *, status: int = 200) -> Response:
    """An answer without an envelope, as a few endpoints have it."""
    return Response(status, encode_json(data))


def is_canonical_uuid(text: str) -> bool:
    """Whether a text is a UUID spelled as it is stored: lower case, with hyphens."""
    return _CANONICAL_UUID.fullmatch(text) is not None


async def read_body(receive: Receive, limit_bytes: int) -> bytes | None:
    """The whole body, or none when it is larger than the limit (the rest is then not read)."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body if len(body) <= limit_bytes else None
    chunks, size = [body], len(body)
    while message.get("more_body"):
        if size > limit_bytes:
            return None
        message = await receive()
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks) if size <= limit_bytes else None


async def send_response(send: Send, response: Response) -> None:
    """Write an answer: with its length when it is whole, in chunks when it is a stream."""
    headers = [response.content, *response.headers]
    if response.stream is None:
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
        return
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async for chunk in response.stream:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
