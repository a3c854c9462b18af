"""The default policy for tests, and plans made by it."""

from __future__ import annotations

from typing import Any

import msgspec

from soak_pipeline.config.policy_file import default_policy, read_policy
from soak_pipeline.model.plan import Plan, make_plan
from soak_pipeline.model.policy import LevelPolicy
from soak_pipeline.model.profile import Profile, adjusted
from soak_pipeline.model.target import Target
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.prove.lane import POLICY as PROVE_POLICY

POLICY = default_policy()
DEFAULT = POLICY.policy
PROVING = read_policy(PROVE_POLICY).policy
OF_RUN = POLICY.of_run
LEVELS = tuple(DEFAULT.levels)
PROVE_LEVELS = tuple(name for name in PROVING.levels if name not in DEFAULT.levels)
GATING = DEFAULT.gating_levels
MIX = DEFAULT.levels["nightly"].profile.mix
EXECUTED_ONLY = DEFAULT.levels["nightly"].profile.fairness.quiet_mix
HEADROOMS = DEFAULT.headrooms
NOISY = DEFAULT.noisy_tenant
QUIET = tuple(name for name in DEFAULT.tenants if name != NOISY)
SHARES = {name: tenant.share for name, tenant in DEFAULT.tenants.items()}


def profile_of(name: str = "smoke", **changes: Any) -> Profile:
    """A level's profile, with the operator's changes."""
    return adjusted(PROVING.level(name).profile, **changes)


def profile_with(load: dict[str, Any], fairness: dict[str, Any] | None = None, **fanout: Any) -> Profile:
    """A profile of these numbers, else as the smoke level has them."""
    smoke = DEFAULT.levels["smoke"].profile
    return msgspec.structs.replace(
        smoke,
        fairness=msgspec.structs.replace(smoke.fairness, **(fairness or {})),
        fanout=msgspec.structs.replace(smoke.fanout, **fanout),
        **load,
    )


def default_thresholds(**changes: float) -> Thresholds:
    """The default limits, some of them changed."""
    return msgspec.structs.replace(DEFAULT.limits, **changes)


def level_with(load: Profile, limits: Thresholds | None = None, **changes: Any) -> LevelPolicy:
    """A level with this load and these limits, else as in the default policy."""
    level = PROVING.level(load.name) if load.name in PROVING.levels else DEFAULT.level("smoke")
    return msgspec.structs.replace(level, profile=load, thresholds=limits or level.thresholds, **changes)


def plan_by(
    *,
    run_id: str,
    target: Target,
    profile: Profile,
    thresholds: Thresholds | None = None,
    seed: int = 1,
    release: str = "",
    commit: str = "",
    **changes: Any,
) -> Plan:
    """A plan with this load and these limits, else by the default policy."""
    return make_plan(
        run_id=run_id,
        level=level_with(profile, thresholds, **changes),
        policy=OF_RUN,
        target=target,
        seed=seed,
        release=release,
        commit=commit,
    )
