"""`python -m soak_pipeline_tests.load.small_platform '{...}'`: a small HTTP server that answers as the platform does.

It serves what the load asks for, over real sockets and in a process of its own, and can be told to misbehave. The
settings are the fields of `Behaviour`, as JSON in the first argument. It prints its port, then serves until its
standard input ends, so it never outlives the test that started it. `GET /_seen` says what it has seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.model.credentials import tenant_password
from soak_pipeline_tests.waiting import PATIENCE_S

OPERATOR_EMAIL = "operator@soak.example"
OPERATOR_PASSWORD = "correct horse battery staple 42"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How the platform behaves.

    Attributes:
        run_id: from which, with the operator's password, the accounts' passwords follow.
        tenants: name -> tenant id.
        service_s: time that an execution takes.
        token_life_s: life of a token, as it says.
        token_grace_s: for so long it takes tokens that have expired.
        stall_after_s, stall_s: once, this long after the first execution, nothing is answered for so long.
        refresh_works: false answers 403 to refreshes.
        logins_work: false answers 401 to every login.
        attacks_pass: executes attacks.
        revocation_works: false goes on executing after a revocation.
        execute_answer: raw bytes, or none at all, instead of an answer to an execution; then the connection is closed.
        idle_close_s: closes connections that rest for so long.
    """

    run_id: str
    tenants: dict[str, str]
    service_s: float = 0.002
    token_life_s: float = 900.0
    token_grace_s: float = 0.0
    stall_after_s: float = 0.0
    stall_s: float = 0.0
    refresh_works: bool = True
    logins_work: bool = True
    attacks_pass: bool = False
    revocation_works: bool = True
    execute_answer: str | None = None
    idle_close_s: float = 0.0


class Platform:
    """State and answers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.tokens: dict[str, tuple[str, float]] = {}
        self.revoked: set[str] = set()
        self.seen: Counter[str] = Counter()
        self.request_ids: Counter[str] = Counter()
        self.last_request_s = 0.0
        self.first_execution_s = 0.0
        self.tenant_headers_without_token = 0
        self.passwords = {
            tenant_id: tenant_password(OPERATOR_PASSWORD, behaviour.run_id, name)
            for name, tenant_id in behaviour.tenants.items()
        }

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, float]:
        """Status, body and the time that it takes."""
        now = time.monotonic()
        route = path.split("?", 1)[0]
        if route == "/_seen":
            return 200, self.report(), 0.0
        self.last_request_s = now
        self.seen[f"{method} {route}"] += 1
        if "x-request-id" in headers:
            self.request_ids[headers["x-request-id"]] += 1
        if route == "/health":
            return 200, {"status": "healthy", "service": "gateway", "version": "1"}, 0.0
        if route == "/auth/token":
            return (*self.login(headers, json.loads(body)), 0.0)
        if len(body) > 10_000:
            return 413, denial(413, "Payload exceeds absolute gateway limit"), 0.0
        token = headers.get("authorization", "").removeprefix("Bearer ")
        tenant, expires_s = self.tokens.get(token, ("", 0.0))
        if now >= expires_s:
            self.tenant_headers_without_token += "x-tenant-id" in headers
            return 401, denial(401, "Unauthorized"), 0.0
        if route == "/auth/refresh":
            if not self.behaviour.refresh_works:
                return 403, {"error": "Forbidden", "detail": "no rule"}, 0.0
            del self.tokens[token]
            return 200, self.new_token(tenant), 0.0
        if route.startswith("/execute/"):
            return self.execute(now, route.removeprefix("/execute/"), headers, body)
        if route.startswith("/agents/"):
            return (*self.permissions(method, route.split("/")[2]), 0.0)
        return 200, {"success": True, "data": READS[route]}, 0.0

    def login(self, headers: Mapping[str, str], body: dict[str, str]) -> tuple[int, Any]:
        tenant = headers.get("x-tenant-id", "")
        right = self.passwords.get(tenant) if tenant else OPERATOR_PASSWORD
        if not self.behaviour.logins_work or right is None or body["password"] != right:
            return 401, {"success": False, "error": "Invalid credentials"}
        return 200, self.new_token(tenant)

    def new_token(self, tenant: str) -> dict[str, Any]:
        token = f"{uuid.uuid4().hex}.{uuid.uuid4().hex}.{uuid.uuid4().hex}"
        life_s = self.behaviour.token_life_s
        self.tokens[token] = (tenant, time.monotonic() + life_s + self.behaviour.token_grace_s)
        return {"success": True, "data": {"access_token": token, "token_type": "bearer", "expires_in": life_s}}

    def execute(self, now: float, tool: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, float]:
        behaviour = self.behaviour
        self.first_execution_s = self.first_execution_s or now
        stall_from_s = self.first_execution_s + behaviour.stall_after_s
        stalled_s = max(0.0, stall_from_s + behaviour.stall_s - now) if now >= stall_from_s else 0.0
        agent = headers["x-agent-id"]
        hostile = agent.startswith("bad") and not behaviour.attacks_pass
        if hostile or tool == "launch_rocket" or agent in self.revoked:
            return 403, denial(403, "Security: denied"), stalled_s
        answer = {"success": True, "request_id": headers["x-request-id"], "agent_id": agent, "tool": tool}
        return 200, answer | {"action": "allow", "risk": 0.1, "findings": []}, behaviour.service_s + stalled_s

    def permissions(self, method: str, agent: str) -> tuple[int, Any]:
        if method == "GET":
            rows = [{"id": f"permission-{agent}", "agent_id": agent, "tool_name": "read_file", "action": "ALLOW"}]
            return 200, {"success": True, "data": rows}
        if method == "DELETE":
            if self.behaviour.revocation_works:
                self.revoked.add(agent)
            return 200, {"success": True, "data": {"status": "revoked"}}
        self.revoked.discard(agent)
        return 201, {"success": True, "data": {"id": f"permission-{agent}"}}

    def report(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "total": sum(self.seen.values()),
            "duplicate_request_ids": sum(1 for count in self.request_ids.values() if count > 1),
            "last_request_s": self.last_request_s,
            "tenant_headers_without_token": self.tenant_headers_without_token,
        }


def denial(status: int, error: str) -> dict[str, Any]:
    return {"success": False, "error": error, "meta": {"code": status}}


READS: Mapping[str, Any] = {
    "/audit/logs": {"total": 1, "limit": 10, "offset": 0, "items": [{"id": "1"}]},
    "/audit/logs/search": {"total": 0, "limit": 10, "offset": 0, "items": []},
    "/audit/logs/summary": {"total_calls": 1},
    "/audit/logs/verify": {"valid": True, "processed_count": 1, "error_count": 0, "violations": []},
    "/usage/summary": {"total_units": 1},
    "/flight/timelines": [],
    "/transparency/roots": [],
    "/graph/agents": [],
}


class Conversation(asyncio.Protocol):
    """One connection."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.buffer = b""
        self.idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.idle:
            self.idle.cancel()
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            lines = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            method, path, _ = lines[0].split(" ")
            self.reply(method, path, headers, body)

    def reply(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        status, answer, seconds = self.platform.answer(method, path, headers, body)
        raw = self.platform.behaviour.execute_answer
        if raw is not None and path.startswith("/execute/"):
            self.transport.write(raw.encode("latin-1"))
            self.transport.close()
            return
        content = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self.write, head.encode() + content)
        else:
            self.write(head.encode() + content)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)
        if self.platform.behaviour.idle_close_s:
            loop = asyncio.get_running_loop()
            self.idle = loop.call_later(self.platform.behaviour.idle_close_s, self.transport.close)


async def serve(behaviour: Behaviour) -> None:
    platform = Platform(behaviour)
    server = await asyncio.get_running_loop().create_server(
        lambda: Conversation(platform), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # A plain thread waits for the end of standard input: the test is gone, or wants us gone.
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    await server.serve_forever()


class RunningPlatform:
    """A platform in its own process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def seen(self) -> dict[str, Any]:
        """What it has seen; see `Platform.report`."""
        with urllib.request.urlopen(f"{self.url}/_seen", timeout=PATIENCE_S) as response:
            report: dict[str, Any] = json.load(response)
            return report

    def open_token(self) -> str:
        """A token of the operator."""
        body = json.dumps({"email": OPERATOR_EMAIL, "password": OPERATOR_PASSWORD}).encode()
        with urllib.request.urlopen(f"{self.url}/auth/token", data=body, timeout=PATIENCE_S) as response:
            return str(json.load(response)["data"]["access_token"])


@contextlib.contextmanager
def running_platform(behaviour: Behaviour) -> Iterator[RunningPlatform]:
    """A platform for the length of a test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "soak_pipeline_tests.load.small_platform", msgspec.json.encode(behaviour).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield RunningPlatform(process, int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(timeout=PATIENCE_S)
        process.stdout.close()


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Behaviour)))
