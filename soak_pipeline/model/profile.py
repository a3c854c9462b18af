"""Profiles: how much load, for how long. Smoke and pre-release differ in these numbers only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.traffic import PROBE_MIX, STANDARD_MIX, Kind

MAX_USERS = 20_000
MAX_RUN_TIME_S = 24 * 3600
CLASSIC_WINDOW_S = 600.0


class FairnessOrder(StrEnum):
    """How baseline and burst follow each other: pairs of short windows, or one long window each."""

    ABBA = "abba"
    CLASSIC = "classic"


class FairnessProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the noisy tenant's effect on the quiet ones is measured.

    Windows come in pairs of one baseline and one burst window, in ABBA order, so that drift cancels; pairs are added
    look by look while the answer is open. `classic` is one long baseline and one long burst instead.

    Attributes:
        order: see `FairnessOrder`.
        quiet_users: virtual users of each quiet tenant, in every window.
        quiet_pace_s: mean seconds between two requests of one quiet user.
        noisy_users_baseline, noisy_users_burst: virtual users of the noisy tenant that are active.
        noisy_pace_s: mean seconds between two requests of one noisy user.
        window_s: length of one window, its settling included (seconds); in `classic`, of each of the two.
        settle_s: start of each window that is not judged (seconds).
        warmup_s: tagged as warm-up before the first window of a session (seconds).
        pairs_by_look: cumulative number of pairs at each look, ascending; the last is the cap.
        long_burst_s: one further unbroken burst after the pairs (seconds); short windows understate a queue that
            builds up slowly; 0 for none.
        quiet_mix, noisy_mix: share of each kind (0..1).
    """

    order: FairnessOrder = FairnessOrder.ABBA
    quiet_users: int
    quiet_pace_s: float
    noisy_users_baseline: int
    noisy_users_burst: int
    noisy_pace_s: float
    window_s: float
    settle_s: float
    warmup_s: float
    pairs_by_look: tuple[int, ...]
    long_burst_s: float = 0.0
    quiet_mix: dict[Kind, float] = msgspec.field(default_factory=lambda: dict(PROBE_MIX))
    noisy_mix: dict[Kind, float] = msgspec.field(default_factory=lambda: dict(STANDARD_MIX))


class FanoutProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many agents of one tenant at once.

    Attributes:
        tenant: the tenant that they belong to.
        agents: number of agents, each calling at the same time.
        calls_per_agent: calls of each agent in each of the three parts (before, while revoked, after re-granting).
        revoked_agents: how many of them lose and regain a permission in between.
    """

    tenant: str = "B"
    agents: int = 50
    calls_per_agent: int = 4
    revoked_agents: int = 10


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One size of soak run.

    Attributes:
        name: `smoke`, `pull_request`, `nightly` or `pre_release`; `prove`, `prove_calm` and
            `prove_pressed` for `soak prove`.
        users: virtual users of the soak, split over the tenants by share.
        soak_s: judged length of the soak (seconds).
        warmup_s: full load before it, not judged (seconds).
        pace_s: mean seconds between two requests of one user.
        mix: share of each kind among a user's requests (0..1, sum 1).
        spawn_per_second: users started (and logged in) per second.
        load_workers: Locust worker processes.
        fairness, fanout: the two other loads.
        telemetry_interval_s: seconds between two telemetry samples.
        agents_per_tenant: benign agents of each tenant, and as many again for attacks.
        drain_timeout_s: longest wait for the platform's pipelines after the load (seconds).
        request_timeout_s: a request without a whole answer by then is a timeout (seconds).
        max_requests_per_second: hard cap of the load generator, over all tenants.
    """

    name: str
    users: int
    soak_s: float
    warmup_s: float
    pace_s: float = 2.0
    mix: dict[Kind, float] = msgspec.field(default_factory=lambda: dict(STANDARD_MIX))
    spawn_per_second: float = 50.0
    load_workers: int = 1
    fairness: FairnessProfile
    fanout: FanoutProfile = FanoutProfile()
    telemetry_interval_s: float = 5.0
    agents_per_tenant: int = 10
    drain_timeout_s: float = 180.0
    request_timeout_s: float = 10.0
    max_requests_per_second: float = 2_000.0


_SMOKE_FAIRNESS = FairnessProfile(
    quiet_users=30,
    quiet_pace_s=0.5,
    noisy_users_baseline=5,
    noisy_users_burst=50,
    noisy_pace_s=0.5,
    window_s=4.0,
    settle_s=0.5,
    warmup_s=3.0,
    pairs_by_look=(8, 12),
)
_LONG_FAIRNESS = FairnessProfile(
    quiet_users=20,
    quiet_pace_s=0.5,
    noisy_users_baseline=10,
    noisy_users_burst=100,
    noisy_pace_s=0.5,
    window_s=60.0,
    settle_s=5.0,
    warmup_s=15.0,
    pairs_by_look=(6, 8, 10),
    long_burst_s=300.0,
)
_PROVE_FAIRNESS = FairnessProfile(
    quiet_users=20,
    quiet_pace_s=0.5,
    noisy_users_baseline=5,
    noisy_users_burst=40,
    noisy_pace_s=0.5,
    window_s=3.0,
    settle_s=0.3,
    warmup_s=1.5,
    pairs_by_look=(4, 8, 12),
)
_PROVE = Profile(
    name="prove",
    users=80,
    soak_s=24.0,
    warmup_s=2.0,
    pace_s=0.5,
    spawn_per_second=100.0,
    fairness=_PROVE_FAIRNESS,
    telemetry_interval_s=1.0,
    drain_timeout_s=40.0,
    request_timeout_s=5.0,
)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(name="smoke", users=100, soak_s=45.0, warmup_s=5.0, pace_s=1.0, fairness=_SMOKE_FAIRNESS),
        Profile(
            name="pull_request",
            users=100,
            soak_s=300.0,
            warmup_s=15.0,
            fairness=msgspec.structs.replace(
                _SMOKE_FAIRNESS, window_s=5.0, pairs_by_look=(8, 12, 16), long_burst_s=30.0
            ),
        ),
        Profile(name="nightly", users=1_000, soak_s=3_600.0, warmup_s=60.0, fairness=_LONG_FAIRNESS),
        Profile(
            name="pre_release",
            users=2_000,
            soak_s=4 * 3_600.0,
            warmup_s=120.0,
            load_workers=2,
            fairness=_LONG_FAIRNESS,
        ),
    )
}

LEVELS = ("pull_request", "nightly", "pre_release")
"""The profiles that a promotion can be asked about; `smoke` only shows that everything works."""

PROVING_PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        _PROVE,
        msgspec.structs.replace(
            _PROVE,
            name="prove_calm",
            fairness=msgspec.structs.replace(_PROVE_FAIRNESS, noisy_users_burst=5, pairs_by_look=(4,)),
        ),
        msgspec.structs.replace(
            _PROVE,
            name="prove_pressed",
            # The queue of a burst has to be gone before a baseline window is judged, so windows settle longer. Fewer
            # quiet calls leave the room for that, and longer windows give as many samples of them. A quiet user calls
            # so seldom that none is late for its next call because of the queue.
            fairness=msgspec.structs.replace(
                _PROVE_FAIRNESS, quiet_users=24, quiet_pace_s=1.0, noisy_users_burst=110, window_s=6.1, settle_s=1.5
            ),
            # As many calls at once as one tenant may have waiting there.
            fanout=FanoutProfile(agents=36),
        ),
    )
}
"""For `soak prove`, no level of the gate: as short as can be; the same with a noisy tenant that never presses; and with
one that presses harder than the platform can bear."""


def classic_fairness(fairness: FairnessProfile) -> FairnessProfile:
    """The same load in the classic order: ten minutes of baseline, then ten minutes of burst, at every size.

    There is one look, and no long burst besides: the burst is long itself.
    """
    return msgspec.structs.replace(
        fairness, order=FairnessOrder.CLASSIC, window_s=CLASSIC_WINDOW_S, pairs_by_look=(1,), long_burst_s=0.0
    )


def profile_named(
    name: str, *, users: int | None = None, soak_s: float | None = None, fairness_order: str = FairnessOrder.ABBA
) -> Profile:
    """A built-in profile, with the operator's overrides.

    Args:
        name: one of `PROFILES` or `PROVING_PROFILES`.
        users: virtual users of the soak instead of the profile's, 1..20,000.
        soak_s: judged length of the soak instead of the profile's, seconds, up to 24 h.
        fairness_order: `abba` as in every profile, or `classic`.

    Raises:
        BadInput: unknown name or a value out of range; every problem is named.
    """
    problems = []
    known = {**PROFILES, **PROVING_PROFILES}
    if name not in known:
        problems.append(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    if users is not None and not 1 <= users <= MAX_USERS:
        problems.append(f"{users} users; allowed: 1 to {MAX_USERS:,}")
    if soak_s is not None and not 1 <= soak_s <= MAX_RUN_TIME_S:
        problems.append(f"run time {soak_s:g} s; allowed: 1 s to {MAX_RUN_TIME_S // 3600} h")
    if fairness_order not in tuple(FairnessOrder):
        problems.append(f"unknown fairness order {fairness_order!r}; known: {', '.join(FairnessOrder)}")
    if problems:
        raise BadInput("profile", problems)
    profile = known[name]
    return msgspec.structs.replace(
        profile,
        users=profile.users if users is None else users,
        soak_s=profile.soak_s if soak_s is None else soak_s,
        fairness=classic_fairness(profile.fairness) if fairness_order == FairnessOrder.CLASSIC else profile.fairness,
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
