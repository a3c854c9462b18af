"""HTTP to a platform that may do anything: the transport under the operator's and the metrics client.

Owns the whole time that an exchange may take, from its first byte to its last, however slowly they come. Never uses a
proxy, never follows a redirect, and asks nobody but the system's trust store, or `SSL_CERT_FILE`, about certificates,
as the load does.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

DEADLINE_TIMEOUTS = 3.0
"""Longest exchange, body included, in timeouts: a platform that sends a byte now and then gets no more."""

_current = threading.local()
_CORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)


def no_cookies() -> CookieJar:
    """A jar that keeps nothing: what one answer sets is never sent with another request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class ExchangeTransport(httpx.BaseTransport):
    """Kept HTTP/1.1 connections on which every exchange ends in time.

    The timeouts of httpx count each read alone: a byte now and then would keep an exchange open for ever.

    Args:
        connections: kept open, and the most exchanges that are under way at once.
        deadline_s: longest exchange, body included (seconds).
    """

    def __init__(self, *, connections: int, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange; the body is read from the response afterwards, under the same deadline.

        Raises:
            httpx.TransportError: no whole answer, as httpx names it.
        """
        assert isinstance(request.stream, httpx.SyncByteStream)
        deadline = time.monotonic() + self._deadline_s
        with _until(deadline):
            response = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, deadline),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response, deadline: float) -> None:
        self._response = response
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        parts = self._response.iter_stream()
        while True:
            with _until(self._deadline):
                part = next(parts, None)
            if part is None:
                return
            yield part

    def close(self) -> None:
        self._response.close()


@contextmanager
def _until(deadline: float) -> Iterator[None]:
    """Within this block, this thread's connections wait no longer than to the deadline (monotonic clock)."""
    _current.deadline = deadline
    try:
        yield
    except _CORE_ERRORS as error:
        # The errors of httpx carry the same names.
        raise getattr(httpx, type(error).__name__, httpx.TransportError)(str(error)) from error
    finally:
        _current.deadline = None


def _left_s(timeout_s: float | None, too_late: type[Exception]) -> float | None:
    deadline = getattr(_current, "deadline", None)
    if deadline is None:
        return timeout_s
    left_s: float = deadline - time.monotonic()
    if left_s <= 0.0:
        raise too_late("the answer never ends")
    return left_s if timeout_s is None else min(timeout_s, left_s)


class _Backend(httpcore.NetworkBackend):
    """Plain TCP connections; nothing else is ever opened."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = _left_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left_s(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = _left_s(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
