"""One pipelined Redis connection per process, for the path of every request.

Owns sending commands and pairing their replies. Commands issued in the same turn of the event loop leave in one write,
which costs a tenth of the CPU time of a general client; see the gateway section of `infra/README.md` for the figures.
It knows nothing of what the commands mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis

logger = logging.getLogger(__name__)

Argument = str | bytes | int | float
Command = tuple[Argument, ...]


class RedisUnavailable(ConnectionError):
    """Redis did not answer: not connected, connection lost, or too slow."""


class RedisLink:
    """A connection that reopens itself. While it is down every command fails at once with RedisUnavailable.

    `reopenings` counts the attempts to reopen it.

    Args:
        url: `redis://[:password@]host:port[/database]`.
        reply_timeout_s: a command unanswered for this long closes the connection and fails all that wait on it.
    """

    def __init__(self, url: str, *, reply_timeout_s: float = 2.0) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 6379
        self._password = unquote(parts.password or "")
        self._database = parts.path.strip("/") or "0"
        self._reply_timeout_s = reply_timeout_s
        self._wire: _Wire | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.reopenings = 0

    async def open(self) -> None:
        """Connect, and keep the connection up from now on.

        Raises:
            RedisUnavailable: the first attempt failed.
        """
        await self._connect()
        self._keeper = asyncio.create_task(self._keep_open(), name="redis-link")

    async def close(self) -> None:
        """Close the connection and stop reopening it."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._wire is not None:
            self._wire.abort(RedisUnavailable("Redis connection closed"))

    @property
    def pending(self) -> int:
        """Commands sent and not yet answered."""
        return 0 if self._wire is None else len(self._wire.waiting)

    def execute(self, *command: Argument) -> asyncio.Future[Any]:
        """Send one command; the future gives its reply, or raises hiredis.ReplyError or RedisUnavailable."""
        return self._live_wire().send(command)

    def execute_all(self, commands: Sequence[Command]) -> asyncio.Future[Any]:
        """Send several commands; the future gives the last reply once all have been answered.

        Raises (from the future):
            hiredis.ReplyError: the first command that was refused.
        """
        return self._live_wire().send_all(commands)

    def _live_wire(self) -> _Wire:
        if self._wire is None or self._wire.closed:
            raise RedisUnavailable(f"Redis at {self._host}:{self._port} is not connected")
        return self._wire

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                _, wire = await loop.create_connection(_Wire, self._host, self._port)
                if self._password:
                    await wire.send(("AUTH", self._password))
                await wire.send(("SELECT", self._database))
        except (OSError, TimeoutError, hiredis.HiredisError) as error:
            raise RedisUnavailable(f"Redis at {self._host}:{self._port} refused the connection: {error}") from error
        self._wire = wire

    async def _keep_open(self) -> None:
        """Reopen a lost connection, and give up one that has stopped answering."""
        stalled_head: object = None
        while True:
            await asyncio.sleep(self._reply_timeout_s / 4 if self._wire and not self._wire.closed else 0.05)
            if self._wire is None or self._wire.closed:
                self.reopenings += 1
                with contextlib.suppress(RedisUnavailable):
                    await self._connect()
                    logger.warning("Redis connection reopened")
                continue
            head = self._wire.waiting[0] if self._wire.waiting else None
            if head is not None and self._wire.head_age_s() > self._reply_timeout_s:
                if head is stalled_head:
                    self._wire.abort(RedisUnavailable(f"Redis did not answer within {self._reply_timeout_s} s"))
                stalled_head = head


class _Wire(asyncio.Protocol):
    """The protocol of one connection: replies come back in the order of the commands."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.waiting: deque[_Expected] = deque()
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail_all(RedisUnavailable("Redis connection lost"))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            expected = self.waiting[0]
            if isinstance(reply, hiredis.ReplyError):
                expected.error = expected.error or reply
            expected.replies_left -= 1
            if expected.replies_left == 0:
                self.waiting.popleft()
                expected.resolve(reply)

    def head_age_s(self) -> float:
        return self._loop.time() - self.waiting[0].sent_at if self.waiting else 0.0

    def send(self, command: Sequence[Argument]) -> asyncio.Future[Any]:
        return self._enqueue(_pack(command), 1)

    def send_all(self, commands: Sequence[Sequence[Argument]]) -> asyncio.Future[Any]:
        return self._enqueue(b"".join([_pack(command) for command in commands]), len(commands))

    def abort(self, error: Exception) -> None:
        self._fail_all(error)
        if self._transport is not None:
            self._transport.abort()

    def _enqueue(self, packed: bytes, replies: int) -> asyncio.Future[Any]:
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packed)
        future: asyncio.Future[Any] = self._loop.create_future()
        self.waiting.append(_Expected(future, replies, self._loop.time()))
        return future

    def _flush(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _fail_all(self, error: Exception) -> None:
        self.closed = True
        while self.waiting:
            self.waiting.popleft().fail(error)


def _pack(command: Sequence[Argument]) -> bytes:
    # The stub knows tuples of one argument only.
    return hiredis.pack_command(tuple(command))  # type: ignore[no-any-return, arg-type]


class _Expected:
    """The replies one caller waits for."""

    __slots__ = ("error", "future", "replies_left", "sent_at")

    def __init__(self, future: asyncio.Future[Any], replies_left: int, sent_at: float) -> None:
        self.future = future
        self.replies_left = replies_left
        self.sent_at = sent_at
        self.error: Exception | None = None

    def resolve(self, reply: Any) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(reply)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
