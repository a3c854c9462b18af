"""What a call to the platform consists of, before anybody sends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

Body = Mapping[str, object]
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """One call, but for its token, tenant and request id.

    Attributes:
        method: HTTP method.
        path: at the gateway, beginning with `/`.
        body: sent as JSON; None for none.
        headers: those of this call alone.
        query: of the URL.
    """

    method: str
    path: str
    body: Body | None = None
    headers: Mapping[str, str] = _NOTHING
    query: Mapping[str, str | int] = _NOTHING

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Route(NamedTuple):
    """A method, and a path with `{names}` in it."""

    method: str
    path: str

    def request(self, body: Body | None = None, **names: str) -> Request:
        """The call for some values of the names; what goes into a path is checked by whoever got it."""
        return Request(self.method, self.path.format(**names), body)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, kw_only=True)
class Headers:
    """Names of the headers that the platform reads.

    Attributes:
        authorization, scheme: of the token, as in `authorization: scheme token`.
        tenant: the tenant that a call is about.
        agent: the agent whose permissions apply.
        tool: the tool, where the path does not name it.
        request_id: the platform adopts it as the key of its records.
        metrics_secret: what metrics pages want.
    """

    authorization: str
    scheme: str
    tenant: str
    agent: str
    tool: str
    request_id: str
    metrics_secret: str

    def of_token(self, token: str) -> dict[str, str]:
        """A call under this token."""
        return {self.authorization: f"{self.scheme} {token}"}

    def of_caller(self, token: str, tenant_id: str) -> dict[str, str]:
        """A call of a tenant's account."""
        return {**self.of_token(token), self.tenant: tenant_id}


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What surrounds the payload of an answer.

    Attributes:
        payload: key of the payload; an answer without it is the payload itself.
        errors: keys that say what is wrong, the first that says something counts.
    """

    payload: str
    errors: tuple[str, ...]

    def payload_of(self, document: object) -> object:
        """The payload of a decoded answer."""
        return document[self.payload] if isinstance(document, dict) and self.payload in document else document

    def error_of(self, document: object) -> str:
        """What a decoded answer says is wrong; empty when it says nothing."""
        said = [document.get(key) for key in self.errors] if isinstance(document, dict) else []
        return next((str(text) for text in said if text), "")
