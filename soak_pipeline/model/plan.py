"""The frozen plan of one run, and the load sessions that follow from it.

The same plan gives the same schedule: every choice that the load makes is a function of the plan's seed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.old_plans import SEALED_FROM, with_old_numbers
from soak_pipeline.model.policy import LevelPolicy, PolicyOfRun, Role
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.sizing import Sizing
from soak_pipeline.model.stored import stored_shape
from soak_pipeline.model.target import Target
from soak_pipeline.model.tenants import split_by_share, tenant_id_of
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.traffic import Kind, Phase

RUN_ID_FORMAT = "%Y%m%dT%H%M%SZ"
_TAG_PREFIX = "refs/tags/"
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z")

PLAN_FORMAT = 3
"""1: the run's evidence is not sealed. 2: it is. 3: the plan freezes the policy; before, its numbers were constants."""

SOAK_SESSION = "soak"
FANOUT_SESSION = "fanout"
FANOUT_PARTS = 3
"""Each fan-out agent calls before, while some are revoked, and after they are granted again."""

TOOLS = ("read_file", "write_file", "list_dir", "sys_stats")
"""Tools that every soak agent may call; all calls are benign."""


class TenantPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One soak tenant.

    Attributes:
        name: as the policy calls it.
        tenant_id: UUID on the platform.
        share: share of the soak's users and traffic (0..1).
        soak_users: virtual users in the soak.
        rpm_limit: requests per minute that the tenant is given, far above the plan.
        is_noisy: whether it is the tenant that presses while fairness is measured; every other one is a quiet tenant.
        limits: limits of this tenant instead of the run's, by name.
    """

    name: str
    tenant_id: str
    share: float
    soak_users: int
    rpm_limit: int
    is_noisy: bool
    limits: dict[str, float]


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that was decided before the first request.

    A stored plan with a field that is not known here is refused: nobody could say what load it planned.

    Attributes:
        run_id: UTC timestamp `YYYYMMDDTHHMMSSZ`; names the run folder and the Dagster partition.
        epoch_unix_us: microseconds since 1970 of the run's time zero; every recorded time counts from it.
        seed: of every random choice of the load.
        release: what is under test, as the operator names it; empty when not given.
        commit: of the platform, when known.
        profile, target, thresholds: as frozen.
        tenants: in the policy's order.
        headrooms: growth over the leak horizon that is still healthy, by series, in its unit.
        advisory: criteria that are judged and shown but never block.
        gates: whether the level is one that a promotion can be asked about.
        adjustments: what the operator changed of the level for this run, in words, such as `users 40`.
        policy: which policy the numbers are from; None for runs from before there was one.
        harness: version of this package that made the plan; empty in plans from before they said so.
        sizing: what the machine carried before, where the profile was fitted to it; None where it was not.
    """

    run_id: str
    epoch_unix_us: int
    seed: int
    release: str
    commit: str
    profile: Profile
    target: Target
    thresholds: Thresholds
    tenants: tuple[TenantPlan, ...]
    headrooms: dict[str, float]
    advisory: tuple[str, ...]
    gates: bool
    adjustments: tuple[str, ...]
    policy: PolicyOfRun | None
    format_version: int = PLAN_FORMAT
    harness: str = ""
    sizing: Sizing | None = None

    @property
    def is_sealed(self) -> bool:
        """Whether the run's evidence carries a seal; runs of the first format have none."""
        return self.format_version >= SEALED_FROM

    @property
    def requests_per_second_max(self) -> float:
        """Hard cap of the load, over all its processes: the profile's, or a lower one of the target."""
        own = self.target.max_requests_per_second
        return self.profile.max_requests_per_second if own is None else min(own, self.profile.max_requests_per_second)

    def tenant(self, name: str) -> TenantPlan:
        """The tenant of that name."""
        return next(tenant for tenant in self.tenants if tenant.name == name)

    def thresholds_of(self, tenant: str) -> Thresholds:
        """The limits of one tenant: the run's, with the tenant's own."""
        return msgspec.structs.replace(self.thresholds, **self.tenant(tenant).limits)

    @property
    def tenant_names(self) -> tuple[str, ...]:
        """Every tenant's name, in the plan's order."""
        return tuple(tenant.name for tenant in self.tenants)

    @property
    def noisy_tenant(self) -> TenantPlan:
        """The tenant that presses while fairness is measured."""
        return next(tenant for tenant in self.tenants if tenant.is_noisy)

    @property
    def quiet_tenants(self) -> tuple[TenantPlan, ...]:
        """Every tenant that the noisy one must not harm, in the plan's order."""
        return tuple(tenant for tenant in self.tenants if not tenant.is_noisy)


class TenantLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant sends in one window.

    Attributes:
        active_users: how many of the tenant's virtual users send; the others rest.
        pace_s: mean seconds between two requests of one user.
        mix: share of each kind (0..1).
    """

    active_users: int
    pace_s: float
    mix: dict[Kind, float]

    @property
    def requests_per_second(self) -> float:
        """The planned rate."""
        return self.active_users / self.pace_s


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a session with constant load.

    Attributes:
        index: from 0.
        phase: what it is for.
        start_s: from the session's time zero (seconds).
        duration_s: its length (seconds).
        settle_s: at its start, recorded as not settled (seconds).
        loads: per tenant.
    """

    index: int
    phase: Phase
    start_s: float
    duration_s: float
    settle_s: float
    loads: dict[str, TenantLoad]

    @property
    def end_s(self) -> float:
        """Its end, from the session's time zero (seconds)."""
        return self.start_s + self.duration_s


class LoadSession(msgspec.Struct, frozen=True, kw_only=True):
    """One supervised run of the load generator: users are started and logged in, then the windows follow.

    Attributes:
        name: such as `fairness-1` or `soak`.
        users: virtual users per tenant, constant over the session.
        spawn_per_second: users started per second before time zero.
        windows: back to back, in order.
    """

    name: str
    users: dict[str, int]
    spawn_per_second: float
    windows: tuple[Window, ...]

    @property
    def duration_s(self) -> float:
        """From time zero to the end of the last window (seconds)."""
        return self.windows[-1].end_s


def run_id_of(moment: datetime) -> str:
    """The run id of a moment."""
    return moment.astimezone(UTC).strftime(RUN_ID_FORMAT)


def started_at(run_id: str) -> datetime:
    """The moment that a run id names, in UTC."""
    return datetime.strptime(run_id, RUN_ID_FORMAT).replace(tzinfo=UTC)


def release_name(release: str) -> str:
    """A release without the `refs/tags/` that git puts before a tag: both name the same release."""
    return release.removeprefix(_TAG_PREFIX)


def is_run_id(text: str) -> bool:
    """Whether a text is a run id: a moment, as `YYYYMMDDTHHMMSSZ`."""
    if not _RUN_ID.fullmatch(text):
        return False
    try:
        started_at(text)
    except ValueError:
        return False
    return True


def checked_run_id(text: str) -> str:
    """The run id itself.

    Raises:
        BadInput: not of the form `YYYYMMDDTHHMMSSZ`, which also keeps path separators out of paths.
    """
    if not is_run_id(text):
        raise BadInput(f"run id {text!r}", ["expected a UTC timestamp such as 20261123T073000Z"])
    return text


def make_plan(
    *,
    run_id: str,
    level: LevelPolicy,
    policy: PolicyOfRun,
    target: Target,
    seed: int,
    release: str = "",
    commit: str = "",
    adjustments: Sequence[str] = (),
) -> Plan:
    """Freezes a plan; a pure function of its arguments.

    Raises:
        BadInput: fewer users than tenants.
    """
    checked_run_id(run_id)
    epoch = started_at(run_id)
    profile = level.profile
    if profile.users < len(level.tenants):
        raise BadInput(
            f"level {profile.name}",
            [
                f"{profile.users} users for {len(level.tenants)} tenants; every tenant needs at least one, so take "
                f"--users {len(level.tenants)} or more, or a larger --scale"
            ],
        )
    soak_users = split_by_share(profile.users, {name: tenant.share for name, tenant in level.tenants.items()}, least=1)
    return Plan(
        run_id=run_id,
        epoch_unix_us=int(epoch.timestamp()) * 1_000_000,
        seed=seed,
        release=release,
        commit=commit,
        profile=profile,
        target=target,
        thresholds=level.thresholds,
        tenants=tuple(
            TenantPlan(
                name=name,
                tenant_id=tenant_id_of(run_id, name),
                share=tenant.share,
                soak_users=soak_users[name],
                rpm_limit=tenant.rpm_limit or _generous_rpm(profile),
                is_noisy=tenant.role is Role.NOISY,
                limits=tenant.limits,
            )
            for name, tenant in level.tenants.items()
        ),
        headrooms=level.headrooms,
        advisory=level.advisory,
        gates=level.gates,
        adjustments=tuple(adjustments),
        policy=policy,
    )


def at_size(plan: Plan, profile: Profile) -> Plan:
    """The same plan with another load; the users of the soak are split again."""
    shares = {tenant.name: tenant.share for tenant in plan.tenants}
    users = split_by_share(profile.users, shares, least=1)
    return msgspec.structs.replace(
        plan,
        profile=profile,
        tenants=tuple(msgspec.structs.replace(tenant, soak_users=users[tenant.name]) for tenant in plan.tenants),
    )


def _generous_rpm(profile: Profile) -> int:
    """A limit that no planned load reaches, so that a 429 is a finding and not the plan."""
    return max(60_000, int(60 * 4 * profile.max_requests_per_second))


def plan_hash(plan: Plan) -> str:
    """SHA-256 (hex) of the plan's canonical JSON; binds a verdict to what was planned."""
    return hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()


def decode_plan(document: bytes) -> Plan:
    """A stored plan, of whatever version; one from before the policy has the numbers that were constants then.

    Raises:
        msgspec.DecodeError: it is no plan.
    """
    return msgspec.convert(with_old_numbers(msgspec.json.decode(document)), Plan)


def plan_hash_as_stored(document: bytes) -> str:
    """The hash that a stored plan had when it was frozen.

    A plan gains fields with time. Those that the document lacks are left out, so that a run of an older version is
    still known to have been provisioned and judged under its own plan.

    Raises:
        msgspec.DecodeError: it is no plan.
    """
    return stored_shape(document, Plan, upgrade=with_old_numbers).digest


def soak_session(plan: Plan) -> LoadSession:
    """The long run: a warm-up at full load, then the soak."""
    profile = plan.profile
    loads = {
        tenant.name: TenantLoad(active_users=tenant.soak_users, pace_s=profile.pace_s, mix=profile.mix)
        for tenant in plan.tenants
    }
    return LoadSession(
        name=SOAK_SESSION,
        users={tenant.name: tenant.soak_users for tenant in plan.tenants},
        spawn_per_second=profile.spawn_per_second,
        windows=_back_to_back([(Phase.WARMUP, profile.warmup_s, 0.0, loads), (Phase.SOAK, profile.soak_s, 0.0, loads)]),
    )


def fairness_session(plan: Plan, look: int) -> LoadSession:
    """The windows that look number `look` (from 0) adds to those before it.

    In ABBA order, pair after pair; the last look's session also carries the long burst. In `classic` order there is
    one look: one long baseline, one long burst.
    """
    fairness = plan.profile.fairness
    baseline, burst = (_fairness_loads(plan, phase) for phase in (Phase.BASELINE, Phase.BURST))
    loads = {Phase.BASELINE: baseline, Phase.BURST: burst}
    if fairness.order == "classic":
        phases = [Phase.BASELINE, Phase.BURST]
    else:
        done = fairness.pairs_by_look[look - 1] if look else 0
        phases = [
            phase
            for pair in range(done, fairness.pairs_by_look[look])
            for phase in ((Phase.BASELINE, Phase.BURST) if pair % 2 == 0 else (Phase.BURST, Phase.BASELINE))
        ]
    stretches = [(phase, fairness.window_s, fairness.settle_s, loads[phase]) for phase in phases]
    if fairness.long_burst_s and look == 0:
        stretches.append((Phase.BURST, fairness.long_burst_s, fairness.settle_s, burst))
    return LoadSession(
        name=f"fairness-{look + 1}",
        users={
            tenant.name: fairness.noisy_users_burst if tenant.is_noisy else fairness.quiet_users
            for tenant in plan.tenants
        },
        spawn_per_second=plan.profile.spawn_per_second,
        windows=_back_to_back([(Phase.WARMUP, fairness.warmup_s, 0.0, baseline), *stretches]),
    )


def peak_load(plan: Plan) -> tuple[int, float]:
    """Most virtual users at a time, and most planned requests per second, over every session of a run."""
    sessions = (fairness_session(plan, 0), soak_session(plan))
    users = max(plan.profile.fanout.agents, *(sum(session.users.values()) for session in sessions))
    rates = (
        sum(load.requests_per_second for load in window.loads.values())
        for session in sessions
        for window in session.windows
    )
    return users, max(rates)


def _fairness_loads(plan: Plan, phase: Phase) -> dict[str, TenantLoad]:
    fairness = plan.profile.fairness
    noisy_users = fairness.noisy_users_burst if phase is Phase.BURST else fairness.noisy_users_baseline
    return {
        tenant.name: TenantLoad(active_users=noisy_users, pace_s=fairness.noisy_pace_s, mix=fairness.noisy_mix)
        if tenant.is_noisy
        else TenantLoad(active_users=fairness.quiet_users, pace_s=fairness.quiet_pace_s, mix=fairness.quiet_mix)
        for tenant in plan.tenants
    }


def _back_to_back(stretches: list[tuple[Phase, float, float, dict[str, TenantLoad]]]) -> tuple[Window, ...]:
    windows = []
    start_s = 0.0
    for index, (phase, duration_s, settle_s, loads) in enumerate(stretches):
        windows.append(
            Window(index=index, phase=phase, start_s=start_s, duration_s=duration_s, settle_s=settle_s, loads=loads)
        )
        start_s += duration_s
    return tuple(windows)
