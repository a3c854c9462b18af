"""A server that answers as no server should, on plain sockets, for as long as the client lets it.

Each script gets one accepted connection. What the server hears and sends is counted, so that a test can say what a
client did not do: a second connection, a request to a forbidden place, reading without end.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from soak_pipeline_tests.waiting import PATIENCE_S

Script = Callable[["Conversation"], None]


@dataclass
class HostileServer:
    """What a hostile server has seen.

    Attributes:
        port: on 127.0.0.1.
        connections: accepted so far.
        heard: every request, as bytes, in the order of arrival.
        sent_bytes: by all scripts.
    """

    port: int
    scheme: str = "http"
    connections: int = 0
    heard: list[bytes] = field(default_factory=list)
    sent_bytes: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


class Conversation:
    """One accepted connection, as a script uses it."""

    def __init__(self, server: HostileServer, connection: socket.socket) -> None:
        self.server = server
        self.socket = connection

    def hear(self) -> bytes:
        """Reads one request; empty at the end of the connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":", 1)[1])
        while len(body) < length:
            part = self.socket.recv(65536)
            if not part:
                break
            body += part
        self.server.heard.append(head + b"\r\n\r\n" + body)
        return self.server.heard[-1]

    def say(self, data: bytes) -> None:
        """Sends bytes."""
        self.socket.sendall(data)
        self.server.sent_bytes += len(data)

    def say_without_end(self, data: bytes, pause_s: float = 0.0) -> None:
        """Sends the same bytes again and again until the client has had enough."""
        while not self.server.over.is_set():
            self.say(data)
            if pause_s:
                self.server.over.wait(pause_s)

    def reset(self) -> None:
        """Ends the connection with a reset instead of a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def stay(self) -> None:
        """Says nothing more, and does not go away either."""
        self.server.over.wait(PATIENCE_S)


def answering(*answers: bytes) -> Script:
    """A script that gives these answers, one per request, the last one again and again."""

    def script(conversation: Conversation) -> None:
        number = 0
        while conversation.hear():
            conversation.say(answers[min(number, len(answers) - 1)])
            number += 1

    return script


def response(body: bytes, status: int = 200, headers: str = "") -> bytes:
    """A correct response."""
    return f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextmanager
def hostile(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[HostileServer]:
    """Serves a script on a free port of 127.0.0.1; every thread is gone afterwards."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    server = HostileServer(listener.getsockname()[1], "https" if tls else "http")
    talks: list[tuple[threading.Thread, socket.socket]] = []

    def talk(connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError), connection:
            script(Conversation(server, tls.wrap_socket(connection, server_side=True) if tls else connection))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            server.connections += 1
            thread = threading.Thread(target=talk, args=(connection,))
            talks.append((thread, connection))
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        server.over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread, connection in talks:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


def certificate(directory: Path, *, expired: bool = False, name: str = "127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """A certificate that signs itself, and a server's context that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hostile")])
    now = datetime.datetime.now(datetime.UTC)
    end = now - datetime.timedelta(days=1) if expired else now + datetime.timedelta(days=1)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path = directory / "key.pem"
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key_path)
    return path, context
