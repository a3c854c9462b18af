"""A relay between the sampler and the platform's metrics pages, so that the way between them can be cut.

The pages themselves go on answering: what is tried is a harness that no longer sees its platform. Owns the relaying
and the target file that points at it. Never reads what passes through.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import yaml

OWNERS = ("gateway", "audit", "usage", "flight", "sealer", "graph")
VARIABLE = "SOAK_PROVE_METRICS_URLS"
_CHUNK_BYTES = 65_536
_LOOK_EVERY_S = 0.2


class MetricsRelays:
    """A context manager: one listener on 127.0.0.1 per metrics page, open until `block`.

    Args:
        find_pages: URL of each page by owner, once the platform runs; empty before.
    """

    def __init__(self, find_pages: Callable[[], Mapping[str, str]]) -> None:
        self._find_pages = find_pages
        self._lock = threading.Lock()
        self._found: Mapping[str, str] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._over = threading.Event()
        self.blocked = threading.Event()

    def __enter__(self) -> Self:
        for owner in OWNERS:
            listener = socket.create_server(("127.0.0.1", 0))
            listener.settimeout(_LOOK_EVERY_S)
            self._listeners[owner] = listener
            threading.Thread(target=self._listen, args=(owner, listener), name=f"relay {owner}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for listener in self._listeners.values():
            listener.close()

    def pages(self) -> str:
        """The relayed pages, as a target file's `metrics_urls_env` wants them."""
        ports = {owner: listener.getsockname()[1] for owner, listener in self._listeners.items()}
        return ",".join(f"{owner}=http://127.0.0.1:{port}/metrics" for owner, port in ports.items())

    def block(self) -> None:
        """Cuts every connection and accepts no more."""
        self.blocked.set()

    def _listen(self, owner: str, listener: socket.socket) -> None:
        while not self._over.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._relay, args=(owner, client), daemon=True).start()

    def _relay(self, owner: str, client: socket.socket) -> None:
        address = None if self.blocked.is_set() else self._upstream(owner)
        with contextlib.closing(client):
            if address is None:
                return
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as upstream:
                self._pump(client, upstream)

    def _pump(self, client: socket.socket, upstream: socket.socket) -> None:
        other = {client: upstream, upstream: client}
        while not (self._over.is_set() or self.blocked.is_set()):
            for readable in select.select([client, upstream], [], [], _LOOK_EVERY_S)[0]:
                data = readable.recv(_CHUNK_BYTES)
                if not data:
                    return
                other[readable].sendall(data)

    def _upstream(self, owner: str) -> tuple[str, int] | None:
        with self._lock:
            if owner not in self._found:
                self._found = self._find_pages()
            url = self._found.get(owner)
        parts = urlsplit(url or "")
        return (parts.hostname, parts.port) if parts.hostname and parts.port else None


def write_relayed_target(target: Path, path: Path) -> Path:
    """A copy of a target file whose metrics pages are those of the variable `VARIABLE`; returns its path."""
    document = yaml.safe_load(target.read_text())
    document |= {"metrics_urls": [], "metrics_urls_env": VARIABLE}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
