"""Which runs gate a promotion, and why the others do not."""

from __future__ import annotations

import msgspec
import pytest

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.promotion import gates_promotion
from soak_pipeline.model.target import Target
from soak_pipeline_tests.policies import GATING, LEVELS, PROVE_LEVELS, plan_by, profile_of


def plan_of(name: str) -> Plan:
    return plan_by(run_id="20261123T073000Z", profile=profile_of(name), target=Target(name="staging"))


@pytest.mark.parametrize("name", [*LEVELS, *PROVE_LEVELS])
def test_exactly_the_levels_that_gate_do(name: str) -> None:
    gates, why_not = gates_promotion(plan_of(name))
    assert gates is (name in GATING)
    assert why_not == ("" if gates else f"{name} gates no promotion")


def test_an_own_level_gates_as_the_policy_says() -> None:
    profile = msgspec.structs.replace(profile_of("smoke"), name="canary")
    target = Target(name="staging")
    canary = plan_by(run_id="20261123T073000Z", profile=profile, target=target, gates=True)
    assert gates_promotion(canary) == (True, "")


def test_a_changed_level_gates_nothing() -> None:
    plan = plan_of("nightly")
    changed = msgspec.structs.replace(plan, adjustments=("users 40", "a", "b", "c"))
    assert gates_promotion(changed) == (False, "a changed nightly gates no promotion (users 40, a, b and 1 more)")
    why_not = "a changed nightly gates no promotion (judged with drain_s_max 60)"
    assert gates_promotion(plan, {"drain_s_max": 60.0}) == (False, why_not)
