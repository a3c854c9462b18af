"""One kept-alive HTTP/1.1 connection of one virtual user, on gevent, with little work per request.

Owns connecting, sending, receiving and the deadline of each exchange. Never follows a redirect, never retries (a retry
would be a second request that nobody planned), and never looks into a body.

A waiting exchange costs one watcher and one switch; deadlines cost nothing per request, because one `Reaper` per
process looks over all connections ten times a second and cuts those that are overdue.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import ssl
import time
from typing import Any, NamedTuple

import gevent
from gevent import monkey
from gevent import socket as gevent_socket
from gevent import ssl as gevent_ssl

from soak_pipeline.load.authority import Authority
from soak_pipeline.load.sender.http1 import MalformedResponse, Response
from soak_pipeline.model.traffic import Outcome

RECEIVE_BYTES = 32 * 1024
REAP_EVERY_S = 0.1
_KernelSocket = monkey.get_original("socket", "socket")

_turns = itertools.count()

STALE_AFTER_S = 0.002
"""A connection that rested longer is checked before use: the server may have closed it meanwhile."""


class Reply(NamedTuple):
    """What came back.

    Attributes:
        status: HTTP status; 0 when none was read.
        body: the body; empty when it did not arrive whole.
        failure: TIMEOUT, TRANSPORT_ERROR or MALFORMED when no status was read, else None.
        response: the response, for its headers; None when no head was read.
    """

    status: int
    body: bytes
    failure: Outcome | None
    response: Response | None


class Reaper:
    """Cuts the connections whose exchange is overdue."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()

    def add(self, connection: Connection) -> None:
        """Watches a connection from now on."""
        self._connections.add(connection)

    def run(self) -> None:
        """Looks over the connections forever; a greenlet of its own."""
        while True:
            gevent.sleep(REAP_EVERY_S)
            now = time.monotonic()
            for connection in self._connections:
                if connection.deadline < now:
                    connection.cut()


class Connection:
    """A connection to the gateway, opened when first needed and again after it was lost.

    Args:
        authority: where the gateway is.
        timeout_s: an exchange without a whole answer by then is a timeout (seconds).
        reaper: enforces the timeout while an exchange waits.

    Attributes:
        deadline: of the exchange under way, `time.monotonic()`; infinite while there is none.
    """

    __slots__ = ("_authority", "_hub", "_overdue", "_read", "_rested", "_socket", "_timeout_s", "deadline")

    def __init__(self, authority: Authority, timeout_s: float, reaper: Reaper) -> None:
        self._authority = authority
        self._timeout_s = timeout_s
        self._hub: Any = gevent.get_hub()
        self._socket: Any = None
        self._read: Any = None
        self._rested = 0.0
        self._overdue = False
        self.deadline = math.inf
        reaper.add(self)

    def exchange(self, request: bytes) -> Reply:
        """Sends a request and waits for its whole answer; whatever happens is in the reply.

        The timeout counts from here, connecting included.
        """
        now = time.monotonic()
        self._overdue = False
        self.deadline = now + self._timeout_s
        response = Response()
        try:
            if self._socket is None:
                self._connect()
            elif now - self._rested > STALE_AFTER_S and self._is_stale():
                self.close()
                self._connect()
            self._send(request)
            while not response.feed(self._receive()):
                pass
        except MalformedResponse:
            self.close()
            return self._failed(response)
        except OSError as error:
            self.close()
            self._overdue = self._overdue or isinstance(error, TimeoutError)
            return self._failed(response)
        except BaseException:
            # The user is being stopped within an exchange: what still arrives belongs to nobody.
            self.close()
            raise
        finally:
            self.deadline = math.inf
        if response.reusable:
            self._rested = time.monotonic()
        else:
            self.close()
        return Reply(response.status, response.body, None, response)

    def _failed(self, response: Response) -> Reply:
        if self._overdue:
            return Reply(0, b"", Outcome.TIMEOUT, None)
        if response.status:
            # The status arrived and says what the platform decided; the missing body makes a success malformed.
            return Reply(response.status, b"", None, response)
        return Reply(0, b"", Outcome.MALFORMED if response.started else Outcome.TRANSPORT_ERROR, None)

    def cut(self) -> None:
        """Ends the exchange under way as a timeout; called by the reaper."""
        self._overdue = True
        self.deadline = math.inf
        if self._socket is not None:
            # Wakes whoever waits for it with the end of the connection.
            with contextlib.suppress(OSError):
                self._socket.shutdown(gevent_socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection; the next exchange opens another."""
        if self._read is not None:
            self._read.close()
            self._read = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        connected = _connected(self._authority, self.deadline)
        connected.setsockopt(gevent_socket.IPPROTO_TCP, gevent_socket.TCP_NODELAY, 1)
        # Detached from gevent's wrapper: a send or receive is then one system call and nothing else.
        self._socket = _KernelSocket(fileno=connected.detach())
        self._socket.setblocking(False)
        self._read = self._hub.loop.io(self._socket.fileno(), 1)

    def _is_stale(self) -> bool:
        try:
            self._socket.recv(1, gevent_socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        # Either the end of the connection, or bytes that nobody asked for.
        return True

    def _send(self, request: bytes) -> None:
        try:
            sent = self._socket.send(request)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The server may have answered and closed without reading; the answer is what counts.
            return
        if sent < len(request):
            self._send_rest(memoryview(request)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        writable = self._hub.loop.io(self._socket.fileno(), 2)
        try:
            while rest:
                self._hub.wait(writable)
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    continue
                except OSError:
                    return
        finally:
            writable.close()

    def _receive(self) -> bytes:
        while True:
            self._hub.wait(self._read)
            try:
                data: bytes = self._socket.recv(RECEIVE_BYTES)
                return data
            except BlockingIOError:
                continue


class TlsConnection(Connection):
    """The same over TLS, with gevent's own TLS sockets."""

    __slots__ = ("_context",)

    def __init__(self, authority: Authority, timeout_s: float, reaper: Reaper, context: ssl.SSLContext) -> None:
        super().__init__(authority, timeout_s, reaper)
        self._context = context

    def cut(self) -> None:
        """Nothing to do: the socket's own timeout ends the exchange."""

    def _connect(self) -> None:
        plain = _connected(self._authority, self.deadline)
        try:
            plain.settimeout(max(0.001, self.deadline - time.monotonic()))
            plain.setsockopt(gevent_socket.IPPROTO_TCP, gevent_socket.TCP_NODELAY, 1)
            self._socket = self._context.wrap_socket(plain, server_hostname=self._authority.host)
        except BaseException:
            plain.close()
            raise

    def _is_stale(self) -> bool:
        return False

    def _send(self, request: bytes) -> None:
        self._socket.settimeout(max(0.001, self.deadline - time.monotonic()))
        self._socket.sendall(request)

    def _receive(self) -> bytes:
        remaining_s = self.deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining_s)
        data: bytes = self._socket.recv(RECEIVE_BYTES)
        return data


def _connected(authority: Authority, deadline: float) -> Any:
    """A connected socket; where there are several addresses, connections begin with each in turn.

    Raises:
        OSError: none of them can be connected to in time.
    """
    hosts = authority.addresses or (authority.host,)
    first = next(_turns) if len(hosts) > 1 else 0
    for number in range(len(hosts)):
        address = (hosts[(first + number) % len(hosts)], authority.port)
        try:
            return gevent_socket.create_connection(address, timeout=max(0.001, deadline - time.monotonic()))
        except OSError:
            if number + 1 == len(hosts) or time.monotonic() >= deadline:
                raise
    raise AssertionError("there is at least one host")


def connection_to(authority: Authority, timeout_s: float, reaper: Reaper) -> Connection:
    """A connection of the right sort for the URL's scheme."""
    if not authority.tls:
        return Connection(authority, timeout_s, reaper)
    return TlsConnection(authority, timeout_s, reaper, _tls_context())


def _tls_context() -> ssl.SSLContext:
    global _TLS
    if _TLS is None:
        # gevent's own class: the standard one would block the whole process in a handshake.
        context: ssl.SSLContext = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        _TLS = context
    return _TLS


_TLS: ssl.SSLContext | None = None
