"""What goes over the wire: whole answers, streams, pipelined requests and closed connections, by a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from infra.acp.gateway.cork import CorkedHttpProtocol, _CorkedTransport
from infra.acp.gateway.http import Response, send_response
from soak_pipeline_tests.infra.servers import free_port
from soak_pipeline_tests.waiting import PATIENCE_S


async def _chunks() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"line {number}\n".encode()
        await asyncio.sleep(0)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/stream":
        await send_response(send, Response(200, stream=_chunks()))
    else:
        await send_response(send, Response(200, scope["path"].encode()))


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[int]:
    port = free_port()
    config = uvicorn.Config(
        application, port=port, http=CorkedHttpProtocol, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield port
    finally:
        server.should_exit = True
        await task


def _no_signals() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def exchange(sent: bytes) -> bytes:
    """Send bytes on one connection and read until the server closes it."""

    async def run() -> bytes:
        async with asyncio.timeout(PATIENCE_S), serving(application) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            answer = await reader.read()
            writer.close()
            return answer

    return asyncio.run(run())


def request(path: str, *, close: bool = False) -> bytes:
    connection = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: gateway\r\n{connection}\r\n".encode()


def test_pipelined_requests_are_answered_in_order_and_the_last_byte_comes_before_the_close() -> None:
    answer = exchange(request("/one") + request("/two") + request("/three", close=True))
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/one", b"/two", b"/three"]


def test_a_stream_arrives_in_full() -> None:
    head, _, body = exchange(request("/stream", close=True)).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"7\r\nline 0\n\r\n7\r\nline 1\n\r\n7\r\nline 2\n\r\n0\r\n\r\n"


class Recorder:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.events.append(data)

    def close(self) -> None:
        self.events.append(b"closed")

    def is_closing(self) -> bool:
        return False


def with_transport(scenario: Callable[[_CorkedTransport], Awaitable[None]]) -> list[bytes]:
    async def run() -> list[bytes]:
        recorder = Recorder()
        await scenario(_CorkedTransport(recorder, asyncio.get_running_loop()))  # type: ignore[arg-type]
        return recorder.events

    return asyncio.run(run())


def test_writes_of_one_turn_leave_together() -> None:
    async def scenario(transport: _CorkedTransport) -> None:
        transport.write(b"head ")
        transport.write(b"body")
        await asyncio.sleep(0)
        transport.write(b"next")
        await asyncio.sleep(0)
        assert transport.is_closing() is False

    assert with_transport(scenario) == [b"head body", b"next"]


def test_closing_sends_what_was_written_first() -> None:
    async def scenario(transport: _CorkedTransport) -> None:
        transport.write(b"answer")
        transport.close()
        await asyncio.sleep(0)

    assert with_transport(scenario) == [b"answer", b"closed"]
