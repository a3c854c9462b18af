"""Those faults of a gateway process that are more than one line where they bite: leaks, pauses, spoilt answers, death.

Owns what leaks keep, and gives it back once their fault is cleared. Nothing here runs while no fault is set.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg

from infra.acp import faults
from infra.acp.faults import FaultValues
from infra.acp.gateway.fair_slots import FairSlots, QueueFull
from infra.acp.gateway.http import Request, Response
from infra.acp.gateway.redis_link import RedisUnavailable
from infra.acp.gateway.services import Services

logger = logging.getLogger(__name__)

#: As whom every call competes for a slot when nothing is shared fairly.
EVERYONE = "every tenant"


class UnfairSlots(FairSlots):
    """Slots that are handed out first come, first served, whosever call it is.

    What one tenant may have waiting stays bounded, as it is where slots are shared fairly: a call beyond that is the
    noisy tenant's own affair, while those within it stand before everybody else's.
    """

    def __init__(self, slots: int, *, queue_per_tenant: int) -> None:
        super().__init__(slots, queue_per_tenant=sys.maxsize)
        self._most_waiting = queue_per_tenant
        self._waiting_calls: Counter[str] = Counter()

    def try_acquire(self, tenant_id: str) -> bool:
        return super().try_acquire(EVERYONE)

    async def wait(self, tenant_id: str) -> None:
        if self._waiting_calls[tenant_id] >= self._most_waiting:
            raise QueueFull(f"tenant {tenant_id} has {self._waiting_calls[tenant_id]} requests waiting")
        self._waiting_calls[tenant_id] += 1
        try:
            await super().wait(EVERYONE)
        finally:
            self._waiting_calls[tenant_id] -= 1

    def release(self, tenant_id: str) -> None:
        super().release(EVERYONE)


class Defects:
    """The defects of one gateway process, as far as they keep something."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept_bytes: list[bytes] = []
        self._kept_files: list[socket.socket] = []
        self._kept_connections: list[asyncpg.Connection] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._unfair_slots: UnfairSlots | None = None

    def slots(self) -> FairSlots:
        """The slots that the tenants' calls compete for."""
        fault = faults.active("fair_sharing_off")
        if fault is None:
            return self._services.slots
        if self._unfair_slots is None or self._unfair_slots.slots != int(fault["slots"]):
            queue = self._services.settings.gateway_queue_per_tenant
            self._unfair_slots = UnfairSlots(int(fault["slots"]), queue_per_tenant=queue)
        return self._unfair_slots

    async def before_answer(self, request: Request, response: Response) -> Response:
        """Leak what leaks with every request, hold the answer back, and spoil it."""
        self._leak(request)
        await self._retry(request)
        if fault := faults.active("gateway_paused"):
            await asyncio.sleep(fault.burst_left_s())
        return spoilt(request, response)

    def give_back(self) -> None:
        """Free what faults that are no longer set have kept."""
        if not faults.active("gateway_rss_leak"):
            self._kept_bytes.clear()
        if not faults.active("gateway_fd_leak"):
            for kept in self._kept_files:
                kept.close()
            self._kept_files.clear()
        if not faults.active("db_connection_leak"):
            for connection in self._kept_connections:
                connection.terminate()
            self._kept_connections.clear()

    def _leak(self, request: Request) -> None:
        if fault := faults.active("gateway_rss_leak"):
            size = int(fault["bytes_per_request"])
            if (len(self._kept_bytes) + 1) * size <= fault["most_bytes"]:
                # Written to, since untouched pages take no memory.
                self._kept_bytes.append(os.urandom(16) * (size // 16 + 1))
        fault = faults.active("gateway_fd_leak")
        if fault and fault.is_turn() and len(self._kept_files) < fault["most"]:
            self._kept_files.append(socket.socket())
        fault = faults.active("db_connection_leak")
        if fault and fault.is_turn() and len(self._kept_connections) + len(self._connecting) < fault["most"]:
            task = asyncio.create_task(self._leak_connection(), name="db-connection-leak")
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        if faults.hits("redis_keys_without_ttl", request.request_id):
            self._services.journal.begin(("SET", f"acp:request:seen:{request.request_id}", request.path))

    async def _leak_connection(self) -> None:
        try:
            connection = await asyncpg.connect(
                self._services.settings.audit_dsn,
                server_settings={"application_name": self._services.settings.process_name},
            )
        except (OSError, asyncpg.PostgresError) as error:
            logger.warning("no connection is left to leak: %s", error)
        else:
            self._kept_connections.append(connection)

    async def _retry(self, request: Request) -> None:
        """Ask Redis once more than needed, as after a first attempt that failed."""
        fault = faults.active("retries_accumulating")
        if fault and fault.picks(request.request_id, share=growing_share(fault)):
            link = self._services.link
            link.reopenings += 1
            try:
                await link.execute("PING")
            except RedisUnavailable:
                logger.warning("the second attempt failed as well")


def growing_share(fault: FaultValues) -> float:
    """The share of the events that is hit by now, 0..1."""
    return min(1.0, fault["share_per_minute"] * fault.elapsed_s / 60)


def delay_s(request: Request) -> float:
    """How much longer an execution takes than it should, seconds."""
    extra_ms = 0.0
    step = faults.active("latency_step")
    if step and step.picks(request.request_id, request.caller.tenant_id):
        extra_ms += step["latency_ms"]
    if drift := faults.active("latency_drift"):
        extra_ms += drift["ms_per_minute"] * drift.elapsed_s / 60
    return extra_ms / 1000


def read_delay_s(request: Request) -> float:
    """How much longer a read takes than it should, seconds."""
    fault = faults.active("reads_slow")
    return fault["latency_ms"] / 1000 if fault and fault.picks(request.request_id, request.caller.tenant_id) else 0.0


async def die_if_due(process_name: str, timeline_opened: asyncio.Future[object]) -> None:
    """End this process as a crash does, if its time has come; the timeline stays open."""
    fault = faults.active("gateway_killed")
    if fault and fault.text("process") in ("", process_name) and fault.is_due():
        await timeline_opened
        os.kill(os.getpid(), signal.SIGKILL)


def spoilt(request: Request, response: Response) -> Response:
    """The answer, or what is left of it. Only those to tenants are spoilt, and no streams."""
    if request.principal is None or response.stream is not None:
        return response
    tenant_id = request.principal.tenant_id
    if faults.hits("malformed_bodies", request.request_id, tenant_id):
        return Response(response.status, response.body[:-1], response.headers, response.content)
    if faults.hits("truncated_bodies", request.request_id, tenant_id):
        # The length of the whole is announced, so the server has to break the connection off.
        length = (b"content-length", str(len(response.body)).encode())
        half = _one_chunk(response.body[: len(response.body) // 2])
        return Response(response.status, headers=(*response.headers, length), content=response.content, stream=half)
    return response


async def _one_chunk(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
