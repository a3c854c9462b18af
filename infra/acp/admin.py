"""The administration port of one process: its faults can be listed, set and cleared while it runs.

Owns one HTTP listener on the loopback address, which answers only who knows the stack's token, and the look-up of the
tenants that faults name. It is no part of the platform's surface, and decides nothing of what a fault does.

    GET /faults                 what this process can have and what it has
    PUT /faults/{name}          switch one on; the body is a JSON object of parameters
    DELETE /faults/{name}       switch one off
    DELETE /faults              switch all off
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import psycopg

from infra.acp import faults
from infra.acp.settings import Settings

logger = logging.getLogger(__name__)

NAMES_READ_EVERY_S = 1.0
REQUEST_TIMEOUT_S = 5.0
LONGEST_BODY_BYTES = 65_536
#: How long the end of the listener may take.
POLL_INTERVAL_S = 0.5
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TenantNames:
    """Tells the faults of this process which tenants they mean. One connection, open only while a fault asks."""

    def __init__(self, identity_dsn: str) -> None:
        self._dsn = identity_dsn
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Look the names up now. A database that does not answer leaves what is known."""
        with self._lock:
            try:
                faults.find_tenants(self._read)
            except psycopg.Error as error:
                logger.warning("the tenants that faults name cannot be looked up: %s", error)
                self.close()
            if not any(fault.names_a_tenant for fault in faults.all_set().values()):
                self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self) -> dict[str, str]:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=2, application_name="acp-faults"
            )
        return dict(self._connection.execute("SELECT tenant_id::text, name FROM tenants").fetchall())


class AdminServer(HTTPServer):
    """The listener of one process.

    Args:
        port: on 127.0.0.1; 0 takes any free one.
        token: what a request must carry as `Authorization: Bearer`.
        process: its name and role, for the answers and against faults that do not concern it.
    """

    def __init__(self, port: int, *, token: str, process: str, role: str, names: TenantNames) -> None:
        if not token:
            raise ValueError("admin port: no token is set, so nobody could be told from anybody; set ACP_ADMIN_TOKEN")
        self.token = token
        self.process = process
        self.role = role
        self.names = names
        super().__init__(("127.0.0.1", port), _Handler)


class _Refused(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: AdminServer
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        try:
            self._authenticate()
            self._act()
            status, body = 200, _listing(self.server)
        except _Refused as refused:
            status, body = refused.status, {"error": str(refused)}
        except faults.FaultError as error:
            status, body = 422, {"error": str(error)}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise _Refused(
                401, "the request carries not the token of this stack, see secrets.json of its state directory"
            )

    def _act(self) -> None:
        what, _, name = self.path.strip("/").partition("/")
        if what != "faults":
            raise _Refused(404, f"{self.path} is unknown, must be /faults or /faults/NAME")
        if self.command == "PUT":
            self._set(name)
        elif self.command == "DELETE":
            faults.clear(name or None)
            logger.warning("fault %s is cleared", name or "of every name")

    def _set(self, name: str) -> None:
        fault = faults.known(name)
        if self.server.role not in fault.roles:
            concerned = ", ".join(fault.roles)
            raise _Refused(422, f"fault {name} concerns {concerned}; {self.server.process} is {self.server.role}")
        faults.set_faults({name: self._parameters()})
        self.server.names.refresh()
        logger.warning("fault %s is set: %s", name, faults.all_set()[name].shown())

    def _parameters(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if length > LONGEST_BODY_BYTES:
            raise _Refused(413, f"the body has {length} bytes, must be at most {LONGEST_BODY_BYTES}")
        try:
            parameters = json.loads(self.rfile.read(length) or b"{}")
        except ValueError as error:
            raise _Refused(400, f"the body is no JSON: {error}") from None
        if not isinstance(parameters, dict):
            raise _Refused(400, f"the body is a {type(parameters).__name__}, must be an object of parameters")
        return parameters

    def log_message(self, format: str, *args: Any) -> None:
        """What is set and cleared is logged above; the rest is not worth a line."""


@contextlib.contextmanager
def serving(settings: Settings, role: str) -> Iterator[None]:
    """Give this process the faults of its environment, and let others be set while the block runs.

    With no administration port and no fault nothing is started.

    Raises:
        FaultError: `ACP_FAULTS` names what there is not.
        OSError: the port is taken.
    """
    faults.from_environment()
    if not settings.admin_port and not faults.all_set():
        yield
        return
    names = TenantNames(settings.identity_dsn)
    names.refresh()
    stop = threading.Event()
    server = None
    threads = [threading.Thread(target=_quietly, args=(_keep_names, names, stop), name="fault-tenants", daemon=True)]
    if settings.admin_port:
        server = AdminServer(
            settings.admin_port,
            token=settings.admin_token,
            process=settings.process_name,
            role=role,
            names=names,
        )
        threads.append(
            threading.Thread(target=_quietly, args=(server.serve_forever, POLL_INTERVAL_S), name="admin", daemon=True)
        )
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if server is not None:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
        names.close()


def _quietly(work: Any, *arguments: Any) -> None:
    """Run a thread's work with the stop signals left to the threads of the process's role."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    work(*arguments)


def _keep_names(names: TenantNames, stop: threading.Event) -> None:
    while not stop.wait(NAMES_READ_EVERY_S):
        names.refresh()


def _listing(server: AdminServer) -> dict[str, Any]:
    return {
        "process": server.process,
        "role": server.role,
        "faults": {name: fault.shown() for name, fault in faults.all_set().items()},
        "known": sorted(name for name, fault in faults.FAULTS.items() if server.role in fault.roles),
    }
