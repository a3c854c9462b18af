"""When each virtual user sends what: a pure function of the plan.

Owns the times, the mix and the rotation over operations, agents, tools and payloads. Never knows a clock, a socket or
an id: agents are indices, times are microseconds from the session's time zero.

A user fires once per pace slot, at a phase of its own plus a jitter of `JITTER_SHARE` of the pace. The phases of a
tenant's users are spread evenly, so the tenant's arrivals are smooth; the jitter keeps them from marching in step. A
time drawn freely within each slot would put some requests of one user closer together than the platform answers: the
second would wait for the first in our own client, and that wait would be counted as the platform's latency.

Every time is computed from its number alone, without generator state, so counting what is due at a moment costs a few
evaluations, and memory does not depend on the duration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from random import Random
from typing import NamedTuple

from soak_pipeline.model.plan import TOOLS, LoadSession, TenantLoad, Window
from soak_pipeline.model.tenants import split_by_share
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation

JITTER_SHARE = 0.2
"""Width of the jitter, of the pace (share)."""

AUTH_SEQUENCE_BASE = 1_000_000_000
"""First sequence number of a user's logins and refreshes: their number depends on the platform's answers, and the
request ids of the schedule must not."""

DECK_SIZES = (20, 100)
PAYLOAD_VARIANTS = 12
"""Payload variants that the schedule rotates over; a divisor-rich number, so that shorter lists are rotated evenly."""

OPERATIONS_OF: Mapping[Kind, tuple[Operation, ...]] = {
    kind: tuple(operation for operation in Operation if KIND_OF[operation] is kind) for kind in Kind
}

_MASK = (1 << 64) - 1
_US = 1_000_000


class Entry(NamedTuple):
    """One request of the schedule.

    Attributes:
        window: index of its window.
        intended_us: when to send it, microseconds from the session's time zero.
        settled: false in the settling time at the start of the window.
        operation: what to send.
        agent: index of the agent among the tenant's benign agents, or its attack agents for attacks.
        tool: index into `TOOLS`.
        variant: which payload, 0 to `PAYLOAD_VARIANTS` - 1.
    """

    window: int
    intended_us: int
    settled: bool
    operation: Operation
    agent: int
    tool: int
    variant: int


class Slots(NamedTuple):
    """The times of one user in one window.

    Attributes:
        start_us: start of the window, from the session's time zero.
        length_us: its length.
        requests: how many of this user fall in it.
        phase: place of the user within each slot, in slots (0..1).
        key: of the jitter.
    """

    start_us: int
    length_us: int
    requests: int
    phase: float
    key: int

    @property
    def wraps(self) -> bool:
        """Whether the last slot's time falls behind the window's end; it then opens the window instead."""
        return self.requests > 0 and self._slot_us(self.requests - 1) >= self.length_us

    def time_us(self, number: int) -> int:
        """Time of request `number` (from 0, ascending in time), from the session's time zero."""
        if not self.wraps:
            return self.start_us + self._slot_us(number)
        if number == 0:
            return self.start_us + self._slot_us(self.requests - 1) - self.length_us
        return self.start_us + self._slot_us(number - 1)

    def times_us(self) -> Iterator[int]:
        """All times, ascending."""
        last = self.requests - 1
        if self.wraps:
            yield self.start_us + self._slot_us(last) - self.length_us
            last -= 1
        for slot in range(last + 1):
            yield self.start_us + self._slot_us(slot)

    def due_by(self, moment_us: int) -> int:
        """How many requests are due at `moment_us`, from the session's time zero."""
        offset_us = moment_us - self.start_us
        if offset_us < 0 or self.requests == 0:
            return 0
        if offset_us >= self.length_us:
            return self.requests
        number = min(self.requests, offset_us * self.requests // self.length_us + 2)
        while number and self.time_us(number - 1) > moment_us:
            number -= 1
        return number

    def _slot_us(self, slot: int) -> int:
        place = slot + self.phase + JITTER_SHARE * _unit(self.key + slot)
        return int(place * self.length_us / self.requests)


class UserSchedule:
    """The schedule of one virtual user.

    Args:
        seed: the plan's seed.
        session: the load session.
        tenant: name of the user's tenant.
        index: of the user within its tenant, from 0; users from a window's `active_users` on rest in it.
        agents: how many benign agents, and as many attack agents, the tenant has.
    """

    def __init__(self, *, seed: int, session: LoadSession, tenant: str, index: int, agents: int) -> None:
        self._key = _key(seed, session.name, tenant, index)
        self._agents = agents
        tenant_offset = _unit(_key(seed, session.name, tenant))
        self._windows = tuple(
            (window, window.loads[tenant], slots_of(window, window.loads[tenant], index, tenant_offset, self._key))
            for window in session.windows
            if tenant in window.loads and index < window.loads[tenant].active_users
        )

    @property
    def total(self) -> int:
        """Requests in the whole session."""
        return sum(slots.requests for _, _, slots in self._windows)

    def due_by(self, moment_us: int) -> int:
        """Requests that are due at a moment, microseconds from the session's time zero."""
        return sum(slots.due_by(moment_us) for _, _, slots in self._windows)

    def __iter__(self) -> Iterator[Entry]:
        rotation = _Rotation(self._key, self._agents)
        for window, load, slots in self._windows:
            deck = deck_of(load.mix)
            settled_from_us = slots.start_us + round(window.settle_s * _US)
            for time_us in slots.times_us():
                operation, agent, tool, variant = rotation.next_of(deck)
                yield Entry(window.index, time_us, time_us >= settled_from_us, operation, agent, tool, variant)


def slots_of(window: Window, load: TenantLoad, index: int, tenant_offset: float, key: int) -> Slots:
    """The times of one user in one window.

    The tenant's total is exactly its rate times the length of the window, rounded; users differ by one at most.

    Args:
        window, load: the window and the tenant's load in it.
        index: of the user within the tenant, below `load.active_users`.
        tenant_offset: shifts the tenant's users against those of other tenants (0..1).
        key: of the user's jitter.
    """
    users = load.active_users
    total = round(users * window.duration_s / load.pace_s)
    return Slots(
        start_us=round(window.start_s * _US),
        length_us=round(window.end_s * _US) - round(window.start_s * _US),
        requests=(index + 1) * total // users - index * total // users,
        phase=(index + tenant_offset) / users,
        key=(key + (window.index + 1) * 0x9E3779B97F4A7C15) & _MASK,
    )


def user_indices(session: LoadSession) -> dict[str, range]:
    """Per tenant, the indices of its users in the session: `RequestRecord.user` of the tenant's user 0 and so on."""
    ranges = {}
    start = 0
    for tenant, count in session.users.items():
        ranges[tenant] = range(start, start + count)
        start += count
    return ranges


@cache
def _deck(shares: tuple[tuple[Kind, float], ...]) -> tuple[Kind, ...]:
    for size in DECK_SIZES:
        if all(abs(share * size - round(share * size)) < 1e-9 for _, share in shares):
            break
    counts = split_by_share(size, {kind.value: share for kind, share in shares})
    return tuple(Kind(kind) for kind, count in counts.items() for _ in range(count))


def deck_of(mix: Mapping[Kind, float]) -> tuple[Kind, ...]:
    """The cards of one cycle: each kind in proportion to its share, exact where 20 or 100 cards can be exact."""
    return _deck(tuple((Kind(kind), share) for kind, share in mix.items() if share > 0))


class _Rotation:
    """Deals kinds from shuffled decks, and rotates each kind over its operations, agents, tools and payloads."""

    def __init__(self, key: int, agents: int) -> None:
        self._key = key
        self._agents = agents
        self._hands: dict[tuple[Kind, ...], list[Kind]] = {}
        self._cycles = 0
        # Users start at different places of the rotation, so that all agents are in use from the first second.
        self._turns = {kind: _mixed(key ^ number) >> 44 for number, kind in enumerate(Kind)}

    def next_of(self, deck: tuple[Kind, ...]) -> tuple[Operation, int, int, int]:
        hand = self._hands.setdefault(deck, [])
        if not hand:
            hand.extend(deck)
            Random(self._key + self._cycles).shuffle(hand)
            self._cycles += 1
        kind = hand.pop()
        turn = self._turns[kind]
        self._turns[kind] = turn + 1
        operations = OPERATIONS_OF[kind]
        turn, operation = divmod(turn, len(operations))
        turn, tool = divmod(turn, len(TOOLS))
        turn, agent = divmod(turn, self._agents)
        return operations[operation], agent, tool, turn % PAYLOAD_VARIANTS


def _key(*parts: object) -> int:
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _mixed(value: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a well-mixed 64-bit number from a counter."""
    value = value * 0x9E3779B97F4A7C15 & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def _unit(value: int) -> float:
    """A uniform number in 0..1 (1 excluded) from a counter."""
    return (_mixed(value) >> 11) * 2.0**-53
