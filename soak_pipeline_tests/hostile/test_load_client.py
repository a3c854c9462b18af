"""The load against a hostile gateway: whatever comes is one counted outcome, in bounded memory and time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from gevent import ssl as gevent_ssl

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.sender import client
from soak_pipeline.load.sender.classify import classify
from soak_pipeline.load.sender.client import Connection, Reaper, connection_to
from soak_pipeline.load.sender.http1 import MAX_BODY_BYTES
from soak_pipeline.load.sender.operations import render
from soak_pipeline.load.sender.samples import SampleBook
from soak_pipeline.model.traffic import Operation, Outcome
from soak_pipeline_tests.hostile.scripts import BODIES, BROKEN, ENCODED, ENDLESS, SLOW
from soak_pipeline_tests.hostile.server import HostileServer, Script, answering, certificate, hostile, response
from soak_pipeline_tests.waiting import PATIENCE_S

SHORT_TIMEOUT_S = 0.4
"""Where nothing but the end of patience ends an exchange."""

REQUEST_ID = "7692c3ad-3540-4b80-8c02-0b3aee66cd88"
SOCKET_BUFFERS_BYTES = 16 * 1024 * 1024
"""What may be on its way between two sockets of one machine when the reader stops."""

Connect = Callable[..., Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    reaper = Reaper()
    greenlet = gevent.spawn(reaper.run)
    made: list[Connection] = []

    def make(server: HostileServer, timeout_s: float = PATIENCE_S) -> Connection:
        made.append(connection_to(authority_of(server.url), timeout_s, reaper))
        return made[-1]

    yield make
    for connection in made:
        connection.close()
    greenlet.kill()


def _asked(connection: Connection, operation: Operation = Operation.EXECUTE) -> Outcome:
    """What becomes of one request."""
    template = render(authority_of("http://127.0.0.1"), nominal.DIALECT.health, with_token=False)
    reply = connection.exchange(template.head + template.tail[2:])
    return reply.failure or classify(nominal.DIALECT.answers, operation, reply.status, reply.body, REQUEST_ID)


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_cut_off_soon(connect: Connect, script: Script) -> None:
    with hostile(script) as server:
        assert _asked(connect(server, 10.0)) in (Outcome.MALFORMED, Outcome.TIMEOUT)
        assert server.sent_bytes < MAX_BODY_BYTES + SOCKET_BUFFERS_BYTES


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW.keys())
def test_what_is_endlessly_slow_is_a_timeout(connect: Connect, script: Script) -> None:
    with hostile(script) as server:
        assert _asked(connect(server, SHORT_TIMEOUT_S)) is Outcome.TIMEOUT


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_counted(connect: Connect, script: Script) -> None:
    with hostile(script) as server:
        assert _asked(connect(server)) in (Outcome.MALFORMED, Outcome.TRANSPORT_ERROR)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("operation", [Operation.EXECUTE, Operation.VERIFY_CHAIN, Operation.READ_AUDIT_LOGS])
def test_a_wrong_body_is_malformed(connect: Connect, body: bytes, operation: Operation) -> None:
    with hostile(answering(response(body))) as server:
        assert _asked(connect(server), operation) is Outcome.MALFORMED


@pytest.mark.parametrize("answer", ENCODED.values(), ids=ENCODED.keys())
def test_a_compressed_body_is_never_unpacked(connect: Connect, answer: bytes) -> None:
    with hostile(answering(answer)) as server:
        assert _asked(connect(server)) is Outcome.MALFORMED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_unexpected_answer_and_never_followed(connect: Connect, status: int) -> None:
    with hostile(answering(response(b"{}"))) as elsewhere:
        moved = response(b"", status, f"Location: {elsewhere.url}/health\r\n")
        with hostile(answering(moved)) as server:
            assert _asked(connect(server)) is Outcome.CLIENT_ERROR
        assert elsewhere.connections == 0


def test_cookies_are_never_sent_back(connect: Connect) -> None:
    with hostile(answering(response(b"{}", headers="Set-Cookie: session=abc; Path=/\r\n"))) as server:
        connection = connect(server)
        for _ in range(3):
            _asked(connection)
        assert len(server.heard) == 3
        assert not any(b"cookie" in request.lower() for request in server.heard)


def test_bytes_that_nobody_asked_for_never_answer_the_next_request(connect: Connect) -> None:
    """Else an answer could be shifted by one, and everything after it."""
    with hostile(answering(response(b'{"status": "ok"}') + response(b'{"status": "forged"}'))) as server:
        connection = connect(server)
        for _ in range(3):
            assert connection.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").body == b'{"status": "ok"}'
        assert server.connections == 3


def test_the_environments_proxy_gets_nothing(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile(answering(response(b"{}"))) as proxy, hostile(answering(response(b"{}"))) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        _asked(connect(server))
        assert (server.connections, proxy.connections) == (1, 0)


def test_what_is_kept_of_an_answer_acts_on_nobody() -> None:
    book = SampleBook()
    for number, body in enumerate(BODIES.values()):
        reply = client.Reply(200 + number, body, None, None)
        book.add(Operation.EXECUTE, Outcome.MALFORMED, reply, 0)
    assert b"\\u001b" not in book.encoded()
    assert b"\x1b" not in book.encoded()
    assert b"\\u0007" not in book.encoded()


@pytest.mark.parametrize(("expired", "name"), [(True, "127.0.0.1"), (False, "elsewhere.example")])
def test_a_certificate_that_is_expired_or_of_another_is_a_transport_error(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expired: bool, name: str
) -> None:
    path, shown = certificate(tmp_path, expired=expired, name=name)
    trusting = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(path)
    monkeypatch.setattr(client, "_TLS", trusting)
    with hostile(answering(response(b"{}")), tls=shown) as server:
        assert _asked(connect(server)) is Outcome.TRANSPORT_ERROR
        assert server.heard == []


def test_a_certificate_that_signs_itself_is_a_transport_error(connect: Connect, tmp_path: Path) -> None:
    _, shown = certificate(tmp_path)
    with hostile(answering(response(b"{}")), tls=shown) as server:
        assert _asked(connect(server)) is Outcome.TRANSPORT_ERROR
        assert server.heard == []


def test_plain_http_where_tls_is_expected_is_a_transport_error(connect: Connect) -> None:
    with hostile(answering(response(b"{}"))) as server:
        server.scheme = "https"
        assert _asked(connect(server, SHORT_TIMEOUT_S)) in (Outcome.TRANSPORT_ERROR, Outcome.TIMEOUT)


@pytest.mark.parametrize("script", [*ENDLESS.values(), *SLOW.values()], ids=[*ENDLESS, *SLOW])
def test_the_same_holds_over_tls(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    path, shown = certificate(tmp_path)
    trusting = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(path)
    monkeypatch.setattr(client, "_TLS", trusting)
    with hostile(script, tls=shown) as server:
        assert _asked(connect(server, SHORT_TIMEOUT_S)) in (Outcome.MALFORMED, Outcome.TIMEOUT)
        assert server.sent_bytes < MAX_BODY_BYTES + SOCKET_BUFFERS_BYTES


def test_a_listener_that_never_accepts_is_a_timeout(connect: Connect) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    filler = [socket.socket() for _ in range(4)]
    for each in filler:
        each.setblocking(False)
        each.connect_ex(listener.getsockname())
    try:
        server = HostileServer(listener.getsockname()[1])
        assert _asked(connect(server, SHORT_TIMEOUT_S)) is Outcome.TIMEOUT
    finally:
        for each in filler:
            each.close()
        listener.close()
