"""The addresses behind a name, looked up once: what a name comes to mean later moves no load.

Owns the one look-up. Never connects.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from soak_pipeline.model.errors import BadInput


def addresses_of(url: str) -> tuple[str, ...]:
    """Every address of a URL's host, in the system's order of preference.

    Raises:
        BadInput: the name is unknown.
    """
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise BadInput(
            f"gateway {url}", [f"the host {parts.hostname!r} has no address: {reason}; is the name right?"]
        ) from None
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
