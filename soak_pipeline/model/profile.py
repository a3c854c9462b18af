"""Profiles: how much load, for how long. Smoke and pre-release differ in these numbers only.

Owns the shapes and their ranges; the numbers themselves stand in the policy file.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.traffic import Kind

MAX_USERS = 20_000
MAX_RUN_TIME_S = 24 * 3600
FEWEST_PAIRS = 3
"""The first look needs as many, or there is no interval."""

Users = Annotated[int, Meta(ge=1, le=MAX_USERS)]
Count = Annotated[int, Meta(ge=1, le=10_000)]
Pace = Annotated[float, Meta(gt=0, le=3600)]
Length = Annotated[float, Meta(gt=0, le=MAX_RUN_TIME_S)]
LengthOrNone = Annotated[float, Meta(ge=0, le=MAX_RUN_TIME_S)]
Rate = Annotated[float, Meta(gt=0, le=1_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Mix = dict[Kind, Share]


class FairnessOrder(StrEnum):
    """How baseline and burst follow each other: pairs of short windows, or one long window each."""

    ABBA = "abba"
    CLASSIC = "classic"


class FairnessProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the noisy tenant's effect on the quiet ones is measured.

    Windows come in pairs of one baseline and one burst window, in ABBA order, so that drift cancels; pairs are added
    look by look while the answer is open. `classic` is one long baseline and one long burst instead.

    Attributes:
        order: `abba` for interleaved pairs, or `classic` for one long baseline and then one long burst.
        quiet_users: virtual users of each quiet tenant, in every window.
        quiet_pace_s: mean seconds between two requests of one quiet user.
        noisy_users_baseline: virtual users of the noisy tenant that are active in a baseline window.
        noisy_users_burst: the same in a burst window.
        noisy_pace_s: mean seconds between two requests of one noisy user.
        window_s: length of one window of a pair, its settling included (seconds).
        classic_window_s: length of the baseline and of the burst in classic order (seconds).
        settle_s: start of each window that is not judged (seconds).
        warmup_s: tagged as warm-up before the first window of a session (seconds).
        pairs_by_look: cumulative number of pairs at each look, ascending; the last is the cap.
        long_burst_s: one further unbroken burst after the pairs (seconds); short windows understate a queue that
            builds up slowly; 0 for none.
        quiet_mix: share of each kind among the requests of a quiet user (0..1, sum 1).
        noisy_mix: share of each kind among the requests of a noisy user (0..1, sum 1).
    """

    order: FairnessOrder
    quiet_users: Users
    quiet_pace_s: Pace
    noisy_users_baseline: Users
    noisy_users_burst: Users
    noisy_pace_s: Pace
    window_s: Length
    classic_window_s: Length
    settle_s: LengthOrNone
    warmup_s: LengthOrNone
    pairs_by_look: tuple[Count, ...]
    long_burst_s: LengthOrNone
    quiet_mix: Mix
    noisy_mix: Mix


class FanoutProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many agents of one tenant at once.

    Attributes:
        tenant: the tenant that they belong to.
        agents: number of agents, each calling at the same time.
        calls_per_agent: calls of each agent in each of the three parts (before, while revoked, after re-granting).
        revoked_agents: how many of them lose and regain a permission in between.
    """

    tenant: str
    agents: Count
    calls_per_agent: Count
    revoked_agents: Count


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The load of one level.

    Attributes:
        name: of the level, such as `nightly`.
        users: virtual users of the soak, split over the tenants by share.
        soak_s: judged length of the soak (seconds).
        warmup_s: full load before it, not judged (seconds).
        pace_s: mean seconds between two requests of one user.
        mix: share of each kind among a user's requests (0..1, sum 1).
        spawn_per_second: users started (and logged in) per second.
        load_workers: Locust worker processes.
        fairness: the noisy tenant's burst.
        fanout: the agents that call at once.
        telemetry_interval_s: seconds between two telemetry samples.
        agents_per_tenant: benign agents of each tenant, and as many again for attacks.
        drain_timeout_s: longest wait for the platform's pipelines after the load (seconds).
        request_timeout_s: a request without a whole answer by then is a timeout (seconds).
        max_requests_per_second: hard cap of the load generator, over all tenants.
        fit_to_machine: whether a run measures first what the machine carries and takes no more of this size than that
            (`model.sizing`). Never for a level that a gate asks about: such a level is the same everywhere.
    """

    name: str
    users: Users
    soak_s: Length
    warmup_s: LengthOrNone
    pace_s: Pace
    mix: Mix
    spawn_per_second: Rate
    load_workers: Annotated[int, Meta(ge=1, le=256)]
    fairness: FairnessProfile
    fanout: FanoutProfile
    telemetry_interval_s: Annotated[float, Meta(ge=0.1, le=3600)]
    agents_per_tenant: Annotated[int, Meta(ge=1, le=1_000)]
    drain_timeout_s: Length
    request_timeout_s: Annotated[float, Meta(gt=0, le=600)]
    max_requests_per_second: Rate
    fit_to_machine: bool = False


def classic_fairness(fairness: FairnessProfile) -> FairnessProfile:
    """The same load in the classic order: one long baseline, then one burst of the same length.

    There is one look, and no long burst besides: the burst is long itself.
    """
    return msgspec.structs.replace(
        fairness,
        order=FairnessOrder.CLASSIC,
        window_s=fairness.classic_window_s,
        pairs_by_look=(1,),
        long_burst_s=0.0,
    )


def scaled(profile: Profile, scale: float) -> Profile:
    """The whole level at another size: soak, fairness and fan-out; lengths, paces and shares stay.

    Args:
        profile: of the level.
        scale: factor for every number of users, agents, sign-ins and requests per second, above 0.

    Returns:
        Whole numbers, rounded and at least 1; the burst stays above the baseline.
    """
    fairness, fanout = profile.fairness, profile.fanout

    def users(number: int) -> int:
        return max(1, round(number * scale))

    baseline = users(fairness.noisy_users_baseline)
    above = 1 if fairness.noisy_users_burst > fairness.noisy_users_baseline else 0
    agents = users(fanout.agents)
    return msgspec.structs.replace(
        profile,
        users=users(profile.users),
        spawn_per_second=profile.spawn_per_second * scale,
        agents_per_tenant=users(profile.agents_per_tenant),
        max_requests_per_second=profile.max_requests_per_second * scale,
        fairness=msgspec.structs.replace(
            fairness,
            quiet_users=users(fairness.quiet_users),
            noisy_users_baseline=baseline,
            noisy_users_burst=max(baseline + above, users(fairness.noisy_users_burst)),
        ),
        fanout=msgspec.structs.replace(
            fanout, agents=agents, revoked_agents=max(1, min(agents, round(fanout.revoked_agents * scale)))
        ),
    )


def adjusted(
    profile: Profile,
    *,
    scale: float | None = None,
    users: int | None = None,
    soak_s: float | None = None,
    fairness_order: str | None = None,
) -> Profile:
    """A level's profile with the operator's changes for one run.

    Args:
        profile: of the level.
        scale: factor for the whole level; see `scaled`.
        users: virtual users of the soak instead of the level's, 1..20,000; fairness and fan-out stay.
        soak_s: judged length of the soak instead of the level's, seconds, up to 24 h.
        fairness_order: `abba` or `classic`; None for the level's own.

    Raises:
        BadInput: a value out of range; every problem is named.
    """
    problems = []
    if scale is not None and not 0 < scale <= 100:
        problems.append(f"scale {scale:g}; allowed: above 0, up to 100")
    if users is not None and not 1 <= users <= MAX_USERS:
        problems.append(f"{users} users; allowed: 1 to {MAX_USERS:,}")
    if soak_s is not None and not 1 <= soak_s <= MAX_RUN_TIME_S:
        problems.append(f"run time {soak_s:g} s; allowed: 1 s to {MAX_RUN_TIME_S // 3600} h")
    if fairness_order is not None and fairness_order not in tuple(FairnessOrder):
        problems.append(f"unknown fairness order {fairness_order!r}; known: {', '.join(FairnessOrder)}")
    if problems:
        raise BadInput("level", problems)
    changed = profile if scale is None else scaled(profile, scale)
    classic = FairnessOrder.CLASSIC in (fairness_order, changed.fairness.order)
    if fairness_order is not None:
        classic = fairness_order == FairnessOrder.CLASSIC
    return msgspec.structs.replace(
        changed,
        users=changed.users if users is None else users,
        soak_s=changed.soak_s if soak_s is None else soak_s,
        fairness=classic_fairness(changed.fairness) if classic else changed.fairness,
    )


_DURATION = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s?)?")
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def duration_s_of(text: str) -> float:
    """Seconds of a duration as Locust writes it: `90`, `90s`, `60m`, `1h30m`.

    Raises:
        BadInput: not such a duration, or zero.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = sum(_SECONDS[unit] * int(value) for unit, value in match.groupdict().items() if value) if match else 0
    if seconds == 0:
        raise BadInput(f"duration {text!r}", ["expected a positive duration such as 90s, 60m or 1h30m"])
    return float(seconds)
