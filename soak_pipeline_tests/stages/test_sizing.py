"""What `provision` measures before it freezes the plan, and what becomes of the tenant that it measures as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.load.capacity import CapacityProbe, NotMeasured
from soak_pipeline.model.plan import Plan, decode_plan, plan_hash
from soak_pipeline.model.sizing import Capacity
from soak_pipeline.model.target import StopLever
from soak_pipeline.model.tenants import SIZING_TENANT, tenant_id_of
from soak_pipeline.stages import sizing as stage
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.sizing import fitted_plan
from soak_pipeline.target.clean import _own_tenant_ids
from soak_pipeline.target.gateway import Gateway
from soak_pipeline_tests.policies import profile_of
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.small_platform import SmallPlatform

SLOW = Capacity(requests=2_380, failed=0, seconds=3.5, at_cap=False)
"""680 requests/s."""

TENANT = tenant_id_of(examples.RUN_ID, SIZING_TENANT)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, said: list[str]) -> StageContext:
    return StageContext(
        folder=RunFolder(tmp_path, examples.RUN_ID),
        environment={},
        still_wanted=lambda: True,
        on_progress=lambda progress: None,
        log=said.append,
    )


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> SmallPlatform:
    small = SmallPlatform()
    monkeypatch.setattr(stage, "Gateway", lambda resolved: Gateway(resolved, transport=small.transport))
    return small


Measure = Callable[[Capacity | BaseException], list[CapacityProbe]]


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Makes the measurement come to what a test says, and notes what it was asked."""

    def come_to(outcome: Capacity | BaseException) -> list[CapacityProbe]:
        asked: list[CapacityProbe] = []

        def measure(probe: CapacityProbe, environment: object) -> Capacity:
            asked.append(probe)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(stage, "measure_capacity", measure)
        return asked

    return come_to


def smoke_plan(**target_changes: object) -> Plan:
    return examples.plan(examples.target(**target_changes), agents_per_tenant=10, fanout=profile_of("smoke").fanout)


def test_the_plan_takes_what_the_machine_carries(
    context: StageContext, platform: SmallPlatform, measuring: Measure, said: list[str]
) -> None:
    asked = measuring(SLOW)
    before = smoke_plan()
    plan = fitted_plan(context, examples.resolved(), before)
    assert plan.sizing is not None
    assert (plan.sizing.scale, plan.sizing.capacity) == (0.25, SLOW)
    assert plan.profile.fairness.quiet_users == 8
    assert sum(tenant.soak_users for tenant in plan.tenants) == plan.profile.users
    assert (plan.thresholds, plan.seed, plan.tenant_names) == (before.thresholds, before.seed, before.tenant_names)
    assert said[-1].startswith("this machine carries about 680 requests/s: smoke runs at 0.25 of its size, ")
    assert [(probe.tenant_id, bool(probe.token)) for probe in asked] == [(TENANT, True)]


def test_the_tenant_is_blocked_afterwards_and_removed_with_the_run(
    context: StageContext, platform: SmallPlatform, measuring: Measure
) -> None:
    measuring(SLOW)
    plan = fitted_plan(context, examples.resolved(), smoke_plan())
    assert platform.tenants[TENANT]["rpm_limit"] == 0
    assert TENANT not in {tenant.tenant_id for tenant in plan.tenants}
    assert _own_tenant_ids(plan)[-1] == TENANT
    assert TENANT not in _own_tenant_ids(smoke_plan())


def test_the_other_lever_blocks_it_as_well(context: StageContext, platform: SmallPlatform, measuring: Measure) -> None:
    measuring(SLOW)
    target = examples.with_lever(StopLever.KILL_SWITCH)
    fitted_plan(context, examples.resolved(target), smoke_plan(stop_lever=StopLever.KILL_SWITCH))
    assert TENANT in platform.killed


@pytest.mark.parametrize(
    "outcome", [NotMeasured("it did not end"), Capacity(requests=0, failed=7, seconds=3.5, at_cap=False)]
)
def test_what_cannot_be_measured_leaves_the_level_as_it_is(
    context: StageContext,
    platform: SmallPlatform,
    measuring: Measure,
    said: list[str],
    outcome: Capacity | Exception,
) -> None:
    measuring(outcome)
    before = smoke_plan()
    plan = fitted_plan(context, examples.resolved(), before)
    assert plan.profile == before.profile
    assert plan.sizing is not None
    assert plan.sizing.capacity is None
    assert plan.sizing.problem
    assert "could not be measured" in said[-1]
    assert platform.tenants[TENANT]["rpm_limit"] == 0


def test_an_interrupt_blocks_the_tenant_too(context: StageContext, platform: SmallPlatform, measuring: Measure) -> None:
    measuring(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fitted_plan(context, examples.resolved(), smoke_plan())
    assert platform.tenants[TENANT]["rpm_limit"] == 0


def test_a_level_that_is_not_fitted_is_not_measured(
    context: StageContext, platform: SmallPlatform, measuring: Measure
) -> None:
    asked = measuring(SLOW)
    plan = examples.plan(fit_to_machine=False)
    assert fitted_plan(context, examples.resolved(), plan) is plan
    assert asked == []
    assert not platform.calls


@pytest.mark.parametrize(
    ("target", "fastest"),
    [
        ({"embedded": True}, 2_000.0),
        # 4 x 60 + 100 requests/s: what the run itself sends at most.
        ({}, 340.0),
        ({"max_requests_per_second": 350.0, "embedded": True}, 350.0),
    ],
)
def test_no_faster_than_the_target_allows_nor_than_the_run_on_a_platform_of_others(
    context: StageContext, platform: SmallPlatform, measuring: Measure, target: dict[str, object], fastest: float
) -> None:
    asked = measuring(SLOW)
    fitted_plan(context, examples.resolved(), smoke_plan(**target))
    assert asked[0].requests_per_second_max == fastest


def test_a_stored_plan_comes_back_with_its_sizing(
    context: StageContext, platform: SmallPlatform, measuring: Measure
) -> None:
    measuring(SLOW)
    plan = fitted_plan(context, examples.resolved(), smoke_plan())
    stored = decode_plan(msgspec.json.encode(plan))
    assert stored == plan
    assert plan_hash(stored) == plan_hash(plan)
