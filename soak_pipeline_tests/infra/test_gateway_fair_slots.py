"""Slots are bounded, shared fairly, lent when nobody needs them, and never lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.acp.gateway.fair_slots import ACTIVE_FOR_S, FairSlots, QueueFull
from soak_pipeline_tests.waiting import PATIENCE_S


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def slots_of(count: int, clock: Clock | None = None, queue: int = 1000, headroom: float = 0.25) -> FairSlots:
    return FairSlots(count, queue_per_tenant=queue, headroom_share=headroom, clock=clock or Clock())


def run(scenario: Coroutine[None, None, None]) -> None:
    asyncio.run(scenario)


def test_a_tenant_alone_may_use_every_slot() -> None:
    slots = slots_of(8)
    assert [slots.try_acquire("noisy") for _ in range(9)] == [True] * 8 + [False]


def test_a_noisy_tenant_leaves_headroom_while_another_is_active() -> None:
    slots = slots_of(8)
    assert slots.try_acquire("quiet")
    slots.release("quiet")
    taken = sum(slots.try_acquire("noisy") for _ in range(20))
    assert taken == 6  # a quarter of the eight slots stays free
    assert slots.try_acquire("quiet")
    assert slots.try_acquire("quiet")


def test_the_headroom_is_lent_again_once_the_others_are_idle() -> None:
    clock = Clock()
    slots = slots_of(8, clock)
    assert slots.try_acquire("quiet")
    slots.release("quiet")
    clock.now += ACTIVE_FOR_S + 2
    assert sum(slots.try_acquire("noisy") for _ in range(20)) == 8


def test_waiting_tenants_take_turns_and_each_keeps_its_order() -> None:
    async def scenario() -> None:
        slots = slots_of(1, headroom=0.0)
        order: list[str] = []
        assert slots.try_acquire("a")

        async def job(tenant: str, number: int) -> None:
            await slots.wait(tenant)
            order.append(f"{tenant}{number}")
            slots.release(tenant)

        jobs = []
        for tenant, number in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("c", 1)]:
            jobs.append(asyncio.create_task(job(tenant, number)))
            await asyncio.sleep(0)
        slots.release("a")
        await asyncio.gather(*jobs)
        assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
        assert (slots.running, slots.waiting) == (0, 0)

    run(scenario())


def test_a_full_queue_refuses_only_its_own_tenant() -> None:
    async def scenario() -> None:
        slots = slots_of(1, queue=1)
        assert slots.try_acquire("a")
        waiter = asyncio.create_task(slots.wait("a"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await slots.wait("a")
        other = asyncio.create_task(slots.wait("b"))
        await asyncio.sleep(0)
        slots.release("a")
        await waiter
        slots.release("a")
        await other
        slots.release("b")
        assert (slots.running, slots.waiting) == (0, 0)

    run(scenario())


@pytest.mark.parametrize("granted_first", [True, False])
def test_a_cancelled_waiter_loses_no_slot(granted_first: bool) -> None:
    async def scenario() -> None:
        slots = slots_of(1)
        assert slots.try_acquire("a")
        waiter = asyncio.create_task(slots.wait("b"))
        await asyncio.sleep(0)
        if granted_first:
            slots.release("a")  # the slot is the waiter's, which has not run yet
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        if not granted_first:
            slots.release("a")
        assert (slots.running, slots.waiting) == (0, 0)
        assert slots.try_acquire("c")

    run(scenario())


def test_no_slots_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 slots"):
        slots_of(0)


@given(
    count=st.integers(1, 6),
    requests=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4), st.booleans()), max_size=40),
)
def test_whatever_happens_slots_are_bounded_and_all_come_back(
    count: int, requests: list[tuple[str, int, bool]]
) -> None:
    async def scenario() -> None:
        slots = slots_of(count)
        served: Counter[str] = Counter()
        most = 0

        async def job(tenant: str, turns: int) -> None:
            nonlocal most
            async with slots.held(tenant):
                most = max(most, slots.running)
                for _ in range(turns):
                    await asyncio.sleep(0)
                served[tenant] += 1

        jobs = []
        for tenant, turns, cancelled in requests:
            task = asyncio.create_task(job(tenant, turns))
            await asyncio.sleep(0)
            if cancelled:
                task.cancel()
            jobs.append(task)
        outcomes = await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), PATIENCE_S)
        assert most <= count
        assert (slots.running, slots.waiting) == (0, 0)
        assert sum(served.values()) == sum(outcome is None for outcome in outcomes)

    run(scenario())
