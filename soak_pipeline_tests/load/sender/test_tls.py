"""The same connection over TLS, against a server with a certificate that the client does or does not trust."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gevent import ssl as gevent_ssl

from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.sender.client import Reaper, TlsConnection
from soak_pipeline.model.traffic import Outcome
from soak_pipeline_tests.waiting import PATIENCE_S

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def url(certificate: Path) -> Iterator[str]:
    """A server that answers two requests on one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE_S)

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as wrapped:
                for _ in range(2):
                    wrapped.recv(65536)
                    wrapped.sendall(OK)
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    thread.join(timeout=PATIENCE_S)


def connection_to(url: str, trusted: Path | None) -> TlsConnection:
    context = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted:
        context.load_verify_locations(trusted)
    return TlsConnection(authority_of(url), PATIENCE_S, Reaper(), context)


def test_requests_go_over_one_tls_connection(url: str, certificate: Path) -> None:
    connection = connection_to(url, certificate)
    for _ in range(2):
        reply = connection.exchange(REQUEST)
        assert (reply.status, reply.body, reply.failure) == (200, b"{}", None)
    connection.close()


def test_a_certificate_that_nobody_vouches_for_is_a_transport_error(url: str) -> None:
    reply = connection_to(url, None).exchange(REQUEST)
    assert (reply.status, reply.failure) == (0, Outcome.TRANSPORT_ERROR)
