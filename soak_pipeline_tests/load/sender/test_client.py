"""The connection of a virtual user against real sockets: keep-alive, deadlines, hostile servers."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator

import gevent
import pytest

from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.sender.client import STALE_AFTER_S, Connection, Reaper
from soak_pipeline.model.traffic import Outcome
from soak_pipeline_tests.waiting import PATIENCE_S

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Server:
    """Runs a script on each connection that it accepts; a plain thread, so it does not share the client's loop."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        # Wakes `accept`.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(timeout=PATIENCE_S)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._over.is_set():
                connection.close()
                return
            self.connections += 1
            connection.settimeout(PATIENCE_S)
            with connection:
                try:
                    self._script(connection)
                except OSError:
                    continue


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], Server]]:
    servers: list[Server] = []

    def start(script: Callable[[socket.socket], None]) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    reaper = Reaper()
    greenlet = gevent.spawn(reaper.run)
    connections: list[Connection] = []

    def make(url: str, timeout_s: float = PATIENCE_S) -> Connection:
        connections.append(Connection(authority_of(url), timeout_s, reaper))
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()
    greenlet.kill()


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        for answer in answers:
            if not connection.recv(65536):
                return
            connection.sendall(answer)

    return script


def test_requests_share_one_connection(serve: Callable[..., Server], connect: Callable[..., Connection]) -> None:
    server = serve(answering(OK, OK, OK))
    connection = connect(server.url)
    for _ in range(3):
        reply = connection.exchange(REQUEST)
        assert (reply.status, reply.body, reply.failure) == (200, b"{}", None)
    assert server.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(
    serve: Callable[..., Server], connect: Callable[..., Connection]
) -> None:
    server = serve(answering(OK))
    connection = connect(server.url)
    assert connection.exchange(REQUEST).status == 200
    assert connection._socket is not None
    assert select.select([connection._socket.fileno()], [], [], PATIENCE_S)[0], "the server has closed it"
    # Only a connection that has rested is looked at before its next use.
    gevent.sleep(2 * STALE_AFTER_S)
    assert connection.exchange(REQUEST).status == 200
    assert server.connections == 2


def test_connection_close_is_honoured(serve: Callable[..., Server], connect: Callable[..., Connection]) -> None:
    server = serve(answering(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
    connection = connect(server.url)
    assert connection.exchange(REQUEST).status == 200
    assert connection.exchange(REQUEST).status == 200
    assert server.connections == 2


def test_silence_is_a_timeout(serve: Callable[..., Server], connect: Callable[..., Connection]) -> None:
    server = serve(lambda connection: connection.recv(65536) and connection.recv(65536) and None)
    reply = connect(server.url, 0.3).exchange(REQUEST)
    assert (reply.status, reply.failure) == (0, Outcome.TIMEOUT)


def test_an_endless_slow_answer_is_a_timeout(serve: Callable[..., Server], connect: Callable[..., Connection]) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            gevent.monkey.get_original("time", "sleep")(0.01)

    reply = connect(serve(drip).url, 0.5).exchange(REQUEST)
    assert (reply.status, reply.failure) == (0, Outcome.TIMEOUT)


def test_a_refused_connection_is_a_transport_error(connect: Callable[..., Connection]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    reply = connect(f"http://127.0.0.1:{port}").exchange(REQUEST)
    assert (reply.status, reply.failure) == (0, Outcome.TRANSPORT_ERROR)


def test_no_answer_at_all_is_a_transport_error(
    serve: Callable[..., Server], connect: Callable[..., Connection]
) -> None:
    reply = connect(serve(lambda connection: connection.recv(65536) and None).url).exchange(REQUEST)
    assert (reply.status, reply.failure) == (0, Outcome.TRANSPORT_ERROR)


def test_something_else_than_http_is_malformed(
    serve: Callable[..., Server], connect: Callable[..., Connection]
) -> None:
    reply = connect(serve(answering(b"SSH-2.0-x\r\n\r\n")).url).exchange(REQUEST)
    assert (reply.status, reply.failure) == (0, Outcome.MALFORMED)


def test_an_answer_that_is_cut_off_keeps_its_status_and_no_body(
    serve: Callable[..., Server], connect: Callable[..., Connection]
) -> None:
    server = serve(answering(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"success":'))
    reply = connect(server.url).exchange(REQUEST)
    assert (reply.status, reply.body, reply.failure) == (200, b"", None)


def test_a_huge_answer_is_not_read(serve: Callable[..., Server], connect: Callable[..., Connection]) -> None:
    server = serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"))
    reply = connect(server.url).exchange(REQUEST)
    assert (reply.status, reply.body, reply.failure) == (200, b"", None)


def test_an_early_answer_to_a_large_request_is_read(
    serve: Callable[..., Server], connect: Callable[..., Connection]
) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        while connection.recv(65536):
            pass

    reply = connect(serve(refuse).url).exchange(REQUEST + b"x" * 8_000_000)
    assert (reply.status, reply.failure) in ((413, None), (0, Outcome.TRANSPORT_ERROR))


def test_a_user_that_is_stopped_within_an_exchange_closes_its_connection(
    serve: Callable[..., Server], connect: Callable[..., Connection]
) -> None:
    server = serve(lambda connection: connection.recv(65536) and connection.recv(65536) and None)
    connection = connect(server.url)
    greenlet = gevent.spawn(connection.exchange, REQUEST)
    gevent.sleep(0.2)
    greenlet.kill()
    assert connection._socket is None
