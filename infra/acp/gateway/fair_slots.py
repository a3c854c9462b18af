"""Fair sharing of a bounded number of slots among tenants.

Owns who may run next. A tenant within its fair share never waits while a slot is free. A tenant beyond its share may
use the slots that nobody needs, except for a headroom that is kept while other tenants are active, so that their next
request starts at once. Waiting requests of different tenants take turns; those of one tenant keep their order.

The order is that of fair queueing with unit cost: A. Demers, S. Keshav, S. Shenker, "Analysis and simulation of a fair
queueing algorithm", SIGCOMM 1989.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

#: A tenant counts as active for this long after its last request, seconds.
ACTIVE_FOR_S = 5.0


class QueueFull(Exception):
    """A tenant has as many requests waiting as it may have."""


class _Tenant:
    __slots__ = ("last_seen", "running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.last_seen = 0.0


class FairSlots:
    """Slots of one event loop.

    Args:
        slots: requests that run at once, of all tenants, >= 1.
        queue_per_tenant: requests of one tenant that may wait; the next one raises QueueFull.
        headroom_share: share of the slots, 0..1, that tenants beyond their fair share leave free for other active ones.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        slots: int,
        *,
        queue_per_tenant: int,
        headroom_share: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if slots < 1:
            raise ValueError(f"fair slots: {slots} slots, must be at least 1")
        self.slots = slots
        self.running = 0
        self.waiting = 0
        self._queue_per_tenant = queue_per_tenant
        self._headroom = int(slots * headroom_share)
        self._clock = clock
        self._tenants: dict[str, _Tenant] = {}
        self._turns: deque[str] = deque()
        self._next_sweep = 0.0

    def try_acquire(self, tenant_id: str) -> bool:
        """Take a slot if the tenant may run at once. Each success must be followed by one `release`."""
        tenant = self._seen(tenant_id)
        if tenant.waiting or not self._may_run(tenant):
            return False
        self._start(tenant)
        return True

    async def wait(self, tenant_id: str) -> None:
        """Wait for a slot in the tenant's turn. If this returns, one `release` must follow.

        Raises:
            QueueFull: too many requests of this tenant wait already.
        """
        tenant = self._seen(tenant_id)
        if len(tenant.waiting) >= self._queue_per_tenant:
            raise QueueFull(f"tenant {tenant_id} has {len(tenant.waiting)} requests waiting")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not tenant.waiting:
            self._turns.append(tenant_id)
        tenant.waiting.append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            self._give_up(tenant_id, tenant, turn)
            raise

    @contextlib.asynccontextmanager
    async def held(self, tenant_id: str) -> AsyncIterator[None]:
        """Hold a slot for the length of a block, after waiting for it if need be; raises QueueFull."""
        if not self.try_acquire(tenant_id):
            await self.wait(tenant_id)
        try:
            yield
        finally:
            self.release(tenant_id)

    def release(self, tenant_id: str) -> None:
        """Give a slot back, and start whoever is next."""
        tenant = self._tenants[tenant_id]
        tenant.running -= 1
        self.running -= 1
        self._dispatch()

    def _seen(self, tenant_id: str) -> _Tenant:
        now = self._clock()
        if now >= self._next_sweep:
            self._forget_idle(now)
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            tenant = self._tenants[tenant_id] = _Tenant()
        tenant.last_seen = now
        return tenant

    def _forget_idle(self, now: float) -> None:
        self._next_sweep = now + 1.0
        idle = [
            name
            for name, tenant in self._tenants.items()
            if not tenant.running and not tenant.waiting and now - tenant.last_seen > ACTIVE_FOR_S
        ]
        for name in idle:
            del self._tenants[name]

    def _may_run(self, tenant: _Tenant) -> bool:
        free = self.slots - self.running
        active = len(self._tenants)
        within_share = tenant.running * active < self.slots
        return free > (0 if within_share or active == 1 else self._headroom)

    def _start(self, tenant: _Tenant) -> None:
        tenant.running += 1
        self.running += 1

    def _dispatch(self) -> None:
        """Start waiting requests, one per tenant and turn, until none of the waiting tenants may run."""
        passed_over = 0
        while self._turns and passed_over < len(self._turns):
            tenant_id = self._turns.popleft()
            tenant = self._tenants[tenant_id]
            if not self._may_run(tenant):
                self._turns.append(tenant_id)
                passed_over += 1
                continue
            passed_over = 0
            turn = tenant.waiting.popleft()
            self.waiting -= 1
            if tenant.waiting:
                self._turns.append(tenant_id)
            # One that was cancelled, but has not been told yet, takes no slot.
            if not turn.done():
                self._start(tenant)
                turn.set_result(None)

    def _give_up(self, tenant_id: str, tenant: _Tenant, turn: asyncio.Future[None]) -> None:
        """Undo a wait that was cancelled: give the slot back if it was had already, else leave the queue."""
        if not turn.cancelled():
            self.release(tenant_id)
        elif turn in tenant.waiting:
            tenant.waiting.remove(turn)
            self.waiting -= 1
            if not tenant.waiting:
                self._turns.remove(tenant_id)
