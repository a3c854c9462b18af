"""The policy: every number that an operator may want to change, in one value.

Owns the shapes, what must hold between the numbers, and what a level comes to. Reads no file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.profile import FEWEST_PAIRS, Profile, Share
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.thresholds import LIMIT_NAMES, LIMITS_PER_TENANT, Limit, Thresholds
from soak_pipeline.model.traffic import Kind
from soak_pipeline.model.verdict import LOAD_WAS_VALID

FEWEST_TENANTS = 2
MOST_TENANTS = 50
SUM_TOLERANCE = 1e-6
TENANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,29}")
LEVEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

Problem = tuple[tuple[str, ...], str]
"""Where in the policy something is wrong, as keys from the top, and what, as the end of a sentence."""


class Role(StrEnum):
    """What a tenant is while fairness is measured: the one that presses, or one that must not feel it."""

    NOISY = "noisy"
    QUIET = "quiet"


class TenantPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tenant.

    Attributes:
        share: share of the soak's users and traffic (0..1); all shares sum to 1.
        role: `noisy` for exactly one tenant, `quiet` for every other.
        rpm_limit: requests per minute that the platform allows the tenant; far above every planned load when left out.
        limits: limits of this tenant instead of the level's, by name.
    """

    share: Share
    role: Role = Role.QUIET
    rpm_limit: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    limits: dict[str, Limit] = {}


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One level: a load, and what it is for.

    Attributes:
        description: one sentence for a person.
        gates: whether a promotion can be asked about; a level that gates nothing only shows that everything works.
        profile: its load.
        limits: limits of this level instead of the policy's, by name.
        advisory: criteria that are judged and shown but never block, instead of the policy's; None for the policy's.
    """

    description: str
    gates: bool
    profile: Profile
    limits: dict[str, Limit] = {}
    advisory: tuple[str, ...] | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole policy, every value in place.

    Attributes:
        tenants: by name, in the order in which they are shown.
        limits: of every criterion.
        headrooms: growth over the leak horizon that is still healthy, by series, in its unit.
        advisory: criteria that are judged and shown but never block.
        levels: by name, in the order in which they are shown.
    """

    tenants: dict[str, TenantPolicy]
    limits: Thresholds
    headrooms: dict[str, float]
    advisory: tuple[str, ...]
    levels: dict[str, Level]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of every value; two files that say the same have the same."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def gating_levels(self) -> tuple[str, ...]:
        """Levels that a promotion can be asked about."""
        return tuple(name for name, level in self.levels.items() if level.gates)

    @property
    def noisy_tenant(self) -> str:
        """The tenant that presses while fairness is measured."""
        return next(name for name, tenant in self.tenants.items() if tenant.role is Role.NOISY)

    def level(self, name: str) -> LevelPolicy:
        """What a level comes to.

        Raises:
            BadInput: there is no such level.
        """
        if name not in self.levels:
            raise BadInput(f"level {name!r}", [f"is not in the policy; its levels are {', '.join(self.levels)}"])
        level = self.levels[name]
        return LevelPolicy(
            gates=level.gates,
            profile=level.profile,
            thresholds=msgspec.structs.replace(self.limits, **level.limits),
            tenants=self.tenants,
            headrooms=self.headrooms,
            advisory=self.advisory if level.advisory is None else level.advisory,
        )


class LevelPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One level with everything that holds for it; what a plan freezes, and what the gate holds a run against.

    Attributes:
        gates: whether a promotion can be asked about.
        profile: its load.
        thresholds: its limits.
        tenants: by name, with their own limits.
        headrooms: by series.
        advisory: criteria that never block.
    """

    gates: bool
    profile: Profile
    thresholds: Thresholds
    tenants: dict[str, TenantPolicy]
    headrooms: dict[str, float]
    advisory: tuple[str, ...]


class PolicyOfRun(msgspec.Struct, frozen=True, kw_only=True):
    """Which policy a run was planned by.

    Attributes:
        name: of the file, without its folder; `default` for the one that ships with this package.
        digest: see `Policy.digest`.
    """

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name} ({self.digest[:12]})"


def problems_of(policy: Policy, criteria: Sequence[str]) -> Iterator[Problem]:
    """What does not hold between the numbers of a policy, all of it.

    Args:
        policy: the whole of it.
        criteria: names of all criteria.
    """
    yield from _tenant_problems(policy.tenants)
    for name, headroom in policy.headrooms.items():
        if name not in LEAK_SERIES:
            yield ("headrooms", name), f"is no leak series; known: {', '.join(LEAK_SERIES)}"
        elif not 0 < headroom < float("inf"):
            yield ("headrooms", name), f"is {headroom:g}; a headroom is a finite number above 0"
    for name in LEAK_SERIES:
        if name not in policy.headrooms:
            yield ("headrooms", name), "is missing; every leak series needs a headroom"
    yield from _advisory_problems(("advisory",), policy.advisory, criteria)
    if not policy.levels:
        yield ("levels",), "is empty; a policy needs at least one level"
    for name, level in policy.levels.items():
        path = ("levels", name)
        if not LEVEL_NAME.fullmatch(name):
            yield path, "is no name of a level: 1 to 40 lower-case letters, digits and _, beginning with a letter"
        if level.gates and level.profile.fit_to_machine:
            yield (
                (*path, "fit_to_machine"),
                "is true for a level that gates; such a level is the same everywhere, so set it to false",
            )
        yield from _limit_problems((*path, "limits"), level.limits, LIMIT_NAMES)
        yield from _advisory_problems((*path, "advisory"), level.advisory or (), criteria)
        yield from _profile_problems(path, level.profile, policy.tenants)


def _tenant_problems(tenants: Mapping[str, TenantPolicy]) -> Iterator[Problem]:
    path = ("tenants",)
    if not FEWEST_TENANTS <= len(tenants) <= MOST_TENANTS:
        yield path, f"has {len(tenants)} tenants; allowed: {FEWEST_TENANTS} to {MOST_TENANTS}"
    total = sum(tenant.share for tenant in tenants.values())
    if abs(total - 1.0) > SUM_TOLERANCE:
        yield path, f"has shares that sum to {total:g}; they must sum to 1"
    noisy = [name for name, tenant in tenants.items() if tenant.role is Role.NOISY]
    if len(noisy) != 1:
        found = ", ".join(noisy) or "none"
        yield path, f"has {len(noisy)} noisy tenants ({found}); exactly one has `role: noisy`"
    seen: dict[str, str] = {}
    for name in tenants:
        # Accounts are e-mail addresses, in which case does not count.
        if (other := seen.setdefault(name.lower(), name)) != name:
            yield (*path, name), f"differs from {other} in case only; tenants need names that differ otherwise"
    for name, tenant in tenants.items():
        if not TENANT_NAME.fullmatch(name):
            yield (
                (*path, name),
                ("is no name of a tenant: 1 to 30 letters, digits, - and _, beginning with a letter or digit"),
            )
        if tenant.share <= 0:
            yield (*path, name, "share"), "is 0; a tenant without traffic cannot be judged, so leave it out"
        yield from _limit_problems((*path, name, "limits"), tenant.limits, LIMITS_PER_TENANT)


def _limit_problems(path: tuple[str, ...], limits: Mapping[str, float], allowed: tuple[str, ...]) -> Iterator[Problem]:
    for name in limits:
        if name not in LIMIT_NAMES:
            yield (*path, name), f"is no limit; known: {', '.join(LIMIT_NAMES)}"
        elif name not in allowed:
            yield (*path, name), f"holds for the whole run, not for one tenant; a tenant may have {', '.join(allowed)}"


def _advisory_problems(path: tuple[str, ...], names: tuple[str, ...], criteria: Sequence[str]) -> Iterator[Problem]:
    for name in names:
        if name == LOAD_WAS_VALID:
            yield path, f"names {name}, without which no other figure means anything; it always blocks"
        elif name not in criteria:
            yield path, f"names {name!r}, which is no criterion; known: {', '.join(criteria)}"


def _profile_problems(
    path: tuple[str, ...], profile: Profile, tenants: Mapping[str, TenantPolicy]
) -> Iterator[Problem]:
    fairness, fanout = profile.fairness, profile.fanout
    yield from _mix_problems((*path, "mix"), profile.mix)
    yield from _mix_problems((*path, "fairness", "quiet_mix"), fairness.quiet_mix)
    yield from _mix_problems((*path, "fairness", "noisy_mix"), fairness.noisy_mix)
    if profile.users < len(tenants):
        yield (*path, "users"), f"is {profile.users}; {len(tenants)} tenants need at least one user each"
    if fairness.quiet_mix.get(Kind.ALLOWED, 0.0) <= 0:
        yield (*path, "fairness", "quiet_mix"), "has no allowed calls; only they are compared"
    if fairness.noisy_users_burst < fairness.noisy_users_baseline:
        yield (
            (*path, "fairness", "noisy_users_burst"),
            (f"is {fairness.noisy_users_burst}, below the baseline's {fairness.noisy_users_baseline}"),
        )
    for window in ("window_s", "classic_window_s"):
        if fairness.settle_s >= getattr(fairness, window):
            yield (
                (*path, "fairness", "settle_s"),
                (f"is {fairness.settle_s:g} s, which leaves nothing of {window} {getattr(fairness, window):g} s"),
            )
    looks = fairness.pairs_by_look
    if not looks or looks[0] < FEWEST_PAIRS or any(later <= look for look, later in pairwise(looks)):
        yield (
            (*path, "fairness", "pairs_by_look"),
            (f"is {list(looks)}; it is an ascending list that begins with at least {FEWEST_PAIRS}"),
        )
    if fanout.tenant not in tenants:
        yield (*path, "fanout", "tenant"), f"is {fanout.tenant!r}, which is no tenant; known: {', '.join(tenants)}"
    if fanout.revoked_agents > fanout.agents:
        yield (*path, "fanout", "revoked_agents"), f"is {fanout.revoked_agents}, more than the {fanout.agents} agents"


def _mix_problems(path: tuple[str, ...], mix: Mapping[Kind, float]) -> Iterator[Problem]:
    total = sum(mix.values())
    if abs(total - 1.0) > SUM_TOLERANCE:
        yield path, f"sums to {total:g}; the shares of all kinds must sum to 1"
    uneven = [f"{kind.value} {share:g}" for kind, share in mix.items() if abs(share * 100 - round(share * 100)) > 1e-6]
    if uneven:
        yield (
            path,
            f"has {', '.join(uneven)}; a share is a whole number of percent, so that every user sends it exactly",
        )
    if Kind.AUTH in mix:
        yield path, "has auth; sign-ins follow from the users and are not part of a mix"
