"""Where the gateway is, by its URL.

Owns the rule of which URLs load may be sent to. Opens no connection.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from soak_pipeline.model.errors import BadInput


class Authority(NamedTuple):
    """Where the gateway is.

    Attributes:
        host: name or address to connect to.
        port: TCP port.
        tls: whether to speak TLS.
        host_header: value of the Host header.
        base_path: path that precedes every request path, without a trailing slash.
        addresses: to connect to instead of looking the host up; empty looks it up at each connection.
    """

    host: str
    port: int
    tls: bool
    host_header: str
    base_path: str
    addresses: tuple[str, ...] = ()


def authority_of(url: str) -> Authority:
    """The parts of a gateway URL.

    Raises:
        BadInput: not an http or https URL with a host, or one that carries a user name, query or fragment.
    """
    problems = []
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadInput("gateway URL", ["not a URL; expected such as http://127.0.0.1:8000"]) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        problems.append("not an http or https URL with a host; expected such as http://127.0.0.1:8000")
    if parts.username or parts.password or parts.query or parts.fragment:
        problems.append("carries credentials, a query or a fragment; give scheme, host, port and path only")
    if problems:
        raise BadInput("gateway URL", problems)
    tls = parts.scheme == "https"
    return Authority(
        host=parts.hostname or "",
        port=port or (443 if tls else 80),
        tls=tls,
        host_header=parts.netloc,
        base_path=parts.path.rstrip("/"),
    )
