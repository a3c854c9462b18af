"""How much of a profile a machine carries: what was measured, and the profile fitted to it.

Owns the fit, a pure function. It never asks for more load than the profile itself, changes no limit and no confidence,
and is used by profiles that gate nothing only (`Profile.fit_to_machine`).

A slow machine is given less load and more time: the windows of the fairness question grow until each has the samples
of a p99, and there are as many pairs as the time allows. A queue at high utilisation moves a p99 more than any tenant
does, so the burst takes a part of what the machine carries, not all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from soak_pipeline.model.profile import FairnessOrder, FairnessProfile, FanoutProfile, Profile
from soak_pipeline.model.tenants import split_by_share
from soak_pipeline.model.traffic import Kind

BURST_SHARE = 0.13
"""Part of what the machine carries that the busiest fairness window may ask for (share).

What is measured is a rush, in which the platform's background work waits; that needs as much again. The rest is room: a
busy machine moves a p99 by itself, and one under a CPU quota stands still until the next tenth of a second whenever its
quota of this one is used up.
"""

BURST_RISE_SHARE = 0.2
"""Part by which a fitted burst raises the rate of a baseline window at most (share). On a machine that is nearly full,
whatever the noisy tenant adds slows everybody down, however fairly the platform shares."""

SOAK_SHARE = 0.27
"""The same of the soak, which compares nothing: its limit of 250 ms leaves more room (share)."""

SCALE_STEP = 0.05
"""Scales are whole steps, so that runs of one machine have the same size and can be compared."""

SCALE_LEAST = 0.2
"""Below it, five minutes are too short for the requests that the question needs, whatever the load."""

ALONE_S = 1.0
"""The machine is measured with one caller alone first (seconds): connections and caches warm up, and its latency is
that of an idle platform."""

SETTLE_S = 0.5
"""Then with all callers, not counted (seconds)."""

MEASURE_S = 3.5
"""Then with all of them, counted (seconds)."""

MEASURING_S = ALONE_S + SETTLE_S + MEASURE_S
REQUESTS_MOST = 8_000
"""Calls of a measurement; it ends early with them."""

WINDOW_SAMPLES = 105
"""Executed calls of a quiet tenant in the judged part of a window: what a p99 needs, and a little more."""

PHASE_REQUESTS = 780
"""Requests of a quiet tenant in all windows of one phase. With fewer, and without a single error, a rise of its error
share by 0.5 % cannot be excluded."""

FAIRNESS_S = 150.0
"""Longest time of all pairs together (seconds), unless the requests need more: of five minutes, the rest is for start,
soak, drain and verdict."""

PAIRS_FEWEST = 6
SOAK_SAMPLES = 120
"""Executed calls of the smallest tenant in the soak. p95 needs 72 to be bounded at all, and more where slow calls come
together."""

SOAK_S_MOST = 90.0
FANOUT_AGENTS_FEWEST = 20
AGENTS_FEWEST = 4


class Capacity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a machine carried for a few seconds.

    Attributes:
        requests: executed calls that were answered rightly while it was measured.
        failed: calls that were answered otherwise, or not at all.
        seconds: how long it was measured.
        at_cap: whether the measurement was held back by its own cap, so that the machine carries at least as much.
    """

    requests: int
    failed: int
    seconds: float
    at_cap: bool

    @property
    def requests_per_second(self) -> float:
        """Answered calls per second."""
        return self.requests / self.seconds if self.seconds > 0 else 0.0


class Sizing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a profile was fitted to a machine.

    Attributes:
        capacity: what was measured; None when it could not be measured, which leaves the profile as it is.
        scale: the load of the fairness windows and the fan-out, of the profile's own (0..1).
        problem: why it could not be measured; empty when it was.
        is_enough: whether the machine carries the smallest size with room to spare; where it does not, its answers may
            stay open.
    """

    capacity: Capacity | None
    scale: float
    problem: str = ""
    is_enough: bool = True

    def in_words(self, profile: Profile) -> str:
        """One line for a person.

        Args:
            profile: the fitted one.
        """
        if self.capacity is None:
            return f"what this machine carries could not be measured ({self.problem}): {profile.name} runs at full size"
        least = "at least " if self.capacity.at_cap else ""
        carried = f"this machine carries {least or 'about '}{self.capacity.requests_per_second:,.0f} requests/s"
        fairness = profile.fairness
        if fairness.order == FairnessOrder.CLASSIC:
            windows = f"two windows of {fairness.window_s:g} s"
        else:
            first, most = fairness.pairs_by_look[0], fairness.pairs_by_look[-1]
            windows = f"{first if first == most else f'{first} to {most}'} pairs of windows of {fairness.window_s:g} s"
        size = "at full size" if self.scale == 1.0 else f"at {self.scale:g} of its size"
        line = f"{carried}: {profile.name} runs {size}, {windows}, {profile.users:,} users for {profile.soak_s:g} s"
        return line if self.is_enough else f"{line}; it is slower than that needs, so answers may stay open"


def burst_requests_per_second(fairness: FairnessProfile, tenants: int) -> float:
    """Planned rate of the busiest fairness window.

    Args:
        fairness: the windows.
        tenants: how many there are, the noisy one included.
    """
    quiet = (tenants - 1) * fairness.quiet_users / fairness.quiet_pace_s
    return quiet + fairness.noisy_users_burst / fairness.noisy_pace_s


def room_for(profile: Profile, tenants: int, capacity: Capacity) -> float:
    """The load of fairness windows that a machine carries with room to spare, of the profile's own; may be above 1."""
    if capacity.at_cap:
        return math.inf
    return BURST_SHARE * capacity.requests_per_second / burst_requests_per_second(profile.fairness, tenants)


def scale_for(profile: Profile, tenants: int, capacity: Capacity) -> float:
    """The same in whole steps, within what a run can have (`SCALE_LEAST`..1)."""
    room = room_for(profile, tenants, capacity)
    if room >= 1.0:
        return 1.0
    # The small term keeps a whole number of steps from being rounded down to the one before.
    return min(1.0, max(SCALE_LEAST, math.floor(room / SCALE_STEP + 1e-9) * SCALE_STEP))


def fitted(profile: Profile, shares: Mapping[str, float], capacity: Capacity) -> tuple[Profile, Sizing]:
    """The profile that a machine carries, and how it was found.

    Never more load than the profile's own; at full scale, the profile itself.

    Args:
        profile: of the level, with the operator's changes.
        shares: share of the traffic of each tenant (0..1).
        capacity: what was measured.
    """
    scale = round(scale_for(profile, len(shares), capacity), 2)
    is_enough = room_for(profile, len(shares), capacity) >= SCALE_LEAST
    sizing = Sizing(capacity=capacity, scale=scale, is_enough=is_enough)
    users = profile.users if capacity.at_cap else _soak_users(profile, shares, capacity)
    if scale == 1.0 and users == profile.users:
        return profile, sizing
    return msgspec.structs.replace(
        profile,
        users=users,
        soak_s=_soak_s(profile, shares, users),
        agents_per_tenant=min(profile.agents_per_tenant, max(AGENTS_FEWEST, round(scale * profile.agents_per_tenant))),
        fairness=profile.fairness if scale == 1.0 else _fairness(profile.fairness, scale, len(shares)),
        fanout=_fanout(profile.fanout, scale),
    ), sizing


def unfitted(problem: str) -> Sizing:
    """The sizing of a run whose machine could not be measured: the profile stays as it is."""
    return Sizing(capacity=None, scale=1.0, problem=problem)


def _soak_users(profile: Profile, shares: Mapping[str, float], capacity: Capacity) -> int:
    """Users of the soak, in steps: what the machine carries, but enough for every tenant to have one."""
    step = SCALE_STEP * profile.users
    carried = int(step * math.floor(SOAK_SHARE * capacity.requests_per_second * profile.pace_s / step + 1e-9))
    return min(profile.users, max(carried, len(shares), math.ceil(1.0 / min(shares.values()))))


def _soak_s(profile: Profile, shares: Mapping[str, float], users: int) -> float:
    """Length of the soak: until the smallest tenant has its samples."""
    smallest = min(split_by_share(users, shares, least=1).values())
    per_second = smallest / profile.pace_s * profile.mix.get(Kind.ALLOWED, 0.0)
    if not per_second:
        return profile.soak_s
    needed_s = float(math.ceil(SOAK_SAMPLES / per_second))
    return needed_s if needed_s <= profile.soak_s else max(profile.soak_s, min(needed_s, SOAK_S_MOST))


def _fairness(fairness: FairnessProfile, scale: float, tenants: int) -> FairnessProfile:
    quiet_users = max(1, round(scale * fairness.quiet_users))
    noisy_users = max(1, math.floor(scale * fairness.noisy_users_baseline))
    slowed = msgspec.structs.replace(
        fairness,
        quiet_users=quiet_users,
        noisy_users_baseline=noisy_users,
        noisy_users_burst=min(
            max(min(2 * noisy_users, fairness.noisy_users_burst), round(scale * fairness.noisy_users_burst)),
            max(2 * noisy_users, noisy_users + _users_added(fairness, quiet_users, noisy_users, tenants)),
        ),
    )
    if fairness.order == FairnessOrder.CLASSIC:
        return slowed
    per_second = quiet_users / fairness.quiet_pace_s
    samples_per_second = per_second * fairness.quiet_mix.get(Kind.ALLOWED, 0.0)
    if not samples_per_second:
        return slowed
    needed_s = fairness.settle_s + math.ceil(10.0 * WINDOW_SAMPLES / samples_per_second) / 10.0
    window_s = round(max(fairness.window_s, needed_s), 1)
    looks = _looks(fairness.pairs_by_look, window_s, math.ceil(PHASE_REQUESTS / (window_s * per_second)))
    return msgspec.structs.replace(slowed, window_s=window_s, pairs_by_look=looks)


def _users_added(fairness: FairnessProfile, quiet_users: int, noisy_users: int, tenants: int) -> int:
    """Users of the noisy tenant that raise a baseline window's rate by `BURST_RISE_SHARE`."""
    baseline = (tenants - 1) * quiet_users / fairness.quiet_pace_s + noisy_users / fairness.noisy_pace_s
    return round(BURST_RISE_SHARE * baseline * fairness.noisy_pace_s)


def _looks(own: tuple[int, ...], window_s: float, needed: int) -> tuple[int, ...]:
    """As many pairs as the time allows; an early look only where what follows it is worth another session.

    Args:
        own: the profile's looks.
        window_s: length of a window (seconds).
        needed: pairs at the first look at least.
    """
    fewest = max(needed, min(own[0], PAIRS_FEWEST))
    most = max(fewest, min(own[-1], int(FAIRNESS_S / (2.0 * window_s))))
    if most >= own[-1] and needed <= own[0]:
        return own
    first = max(fewest, math.ceil(0.6 * most))
    return (first, most) if most - first >= 4 else (most,)


def _fanout(fanout: FanoutProfile, scale: float) -> FanoutProfile:
    agents = min(fanout.agents, max(FANOUT_AGENTS_FEWEST, round(scale * fanout.agents)))
    share = fanout.revoked_agents / fanout.agents if fanout.agents else 0.0
    revoked = min(fanout.revoked_agents, max(1, round(share * agents))) if fanout.revoked_agents else 0
    return msgspec.structs.replace(fanout, agents=agents, revoked_agents=revoked)
