"""What changed in the numbers of the built-in levels since they were constants of this package."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from soak_pipeline.model.old_plans import with_old_numbers
from soak_pipeline.model.plan import decode_plan
from soak_pipeline.model.stored import differences_of
from soak_pipeline_tests.policies import DEFAULT, GATING, LEVELS

SMOKE_FAIRNESS: dict[str, Any] = {
    "quiet_users": 30, "quiet_pace_s": 0.5, "noisy_users_baseline": 5, "noisy_users_burst": 50, "noisy_pace_s": 0.5,
    "window_s": 4.0, "settle_s": 0.5, "warmup_s": 3.0, "pairs_by_look": [8, 12],
}  # fmt: skip
LONG_FAIRNESS: dict[str, Any] = {
    "quiet_users": 20, "quiet_pace_s": 0.5, "noisy_users_baseline": 10, "noisy_users_burst": 100, "noisy_pace_s": 0.5,
    "window_s": 60.0, "settle_s": 5.0, "warmup_s": 15.0, "pairs_by_look": [6, 8, 10], "long_burst_s": 300.0,
}  # fmt: skip
THEN: dict[str, dict[str, Any]] = {
    "smoke": {"users": 100, "soak_s": 45.0, "warmup_s": 5.0, "pace_s": 1.0, "fairness": SMOKE_FAIRNESS},
    "pull_request": {
        "users": 100,
        "soak_s": 300.0,
        "warmup_s": 15.0,
        "fairness": SMOKE_FAIRNESS | {"window_s": 5.0, "pairs_by_look": [8, 12, 16], "long_burst_s": 30.0},
    },
    "nightly": {"users": 1_000, "soak_s": 3_600.0, "warmup_s": 60.0, "fairness": LONG_FAIRNESS},
    "pre_release": {
        "users": 2_000, "soak_s": 14_400.0, "warmup_s": 120.0, "load_workers": 2, "fairness": LONG_FAIRNESS,
    },
}  # fmt: skip
BY_THE_BRIEF = {
    "fairness.quiet_users": (20, 10),
    "fairness.noisy_users_burst": (100, 500),
    "fairness.noisy_pace_s": (0.5, 2.0),
}
CHANGED: dict[str, dict[str, tuple[object, object]]] = {
    "smoke": {"fit_to_machine": (False, True)},
    "pull_request": {},
    "nightly": BY_THE_BRIEF,
    "pre_release": BY_THE_BRIEF,
}


def _old_plan(name: str) -> dict[str, Any]:
    """A plan as format 2 stored it, without what its version had as defaults of its types."""
    return {
        "run_id": "20261123T073000Z",
        "epoch_unix_us": 0,
        "seed": 1,
        "release": "",
        "commit": "",
        "profile": {"name": name, **THEN[name]},
        "target": {"name": "t"},
        "thresholds": {},
        "tenants": [
            {"name": tenant, "tenant_id": tenant, "share": 0.5, "soak_users": 1, "rpm_limit": 1} for tenant in "AB"
        ],
        "format_version": 2,
    }


@pytest.mark.parametrize("name", LEVELS)
def test_the_load_of_each_level(name: str) -> None:
    then = with_old_numbers(_old_plan(name))["profile"]
    now = msgspec.to_builtins(DEFAULT.levels[name].profile)
    differences = differences_of(msgspec.to_builtins(decode_plan(msgspec.json.encode(_old_plan(name))).profile), now)
    assert then["name"] == name
    assert differences == CHANGED[name]


@pytest.mark.parametrize("name", LEVELS)
def test_limits_and_headrooms_are_what_they_were(name: str) -> None:
    then = decode_plan(msgspec.json.encode(_old_plan(name)))
    now = DEFAULT.level(name)
    assert now.thresholds == msgspec.structs.replace(
        then.thresholds, read_latency_ms_p95_max=500.0, verify_latency_ms_p95_max=1_000.0
    )
    assert then.headrooms == now.headrooms
    assert then.advisory == now.advisory == ()
    assert then.gates is now.gates is (name in GATING)


def test_an_old_plan_has_the_noisy_tenant_of_its_time() -> None:
    plan = decode_plan(msgspec.json.encode(_old_plan("nightly")))
    assert plan.noisy_tenant.name == "A"
    assert [tenant.name for tenant in plan.quiet_tenants] == ["B"]
    assert plan.policy is None


def test_a_mix_that_is_stored_is_not_filled_up() -> None:
    old = _old_plan("smoke")
    old["profile"]["mix"] = {"allowed": 1.0}
    assert decode_plan(msgspec.json.encode(old)).profile.mix == {"allowed": 1.0}


@pytest.mark.parametrize("document", [None, [], 3, {}, {"format_version": 2}, {"tenants": 1, "profile": 2}])
def test_what_is_no_plan_is_refused_by_the_reader(document: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_plan(msgspec.json.encode(document))
