"""A small plan and what provisioning would have made of it, for tests of the load."""

from __future__ import annotations

from pathlib import Path

import msgspec

from soak_pipeline.load.control import LoadSpec
from soak_pipeline.model.credentials import tenant_user_email
from soak_pipeline.model.plan import LoadSession, Plan, TenantLoad, Window, plan_hash
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.stage_outputs import ProvisionedRun, ProvisionedTenant
from soak_pipeline.model.target import Target
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline_tests.load.small_platform import OPERATOR_EMAIL, OPERATOR_PASSWORD, Behaviour
from soak_pipeline_tests.policies import MIX, default_thresholds, plan_by, profile_of
from soak_pipeline_tests.waiting import PATIENCE_S

RUN_ID = "20261123T073000Z"
ENVIRONMENT = {"ACP_ADMIN_EMAIL": OPERATOR_EMAIL, "ACP_ADMIN_PASSWORD": OPERATOR_PASSWORD}


def example_plan(**changes: object) -> Plan:
    """The smoke plan with few fan-out agents; `changes` are fields of the profile."""
    profile: Profile = msgspec.structs.replace(
        profile_of("smoke"),
        spawn_per_second=100.0,
        telemetry_interval_s=1.0,
        fanout=msgspec.structs.replace(profile_of("smoke").fanout, agents=6, calls_per_agent=3, revoked_agents=2),
        request_timeout_s=PATIENCE_S / 10,
    )
    return plan_by(
        run_id=RUN_ID,
        profile=msgspec.structs.replace(profile, **changes),
        target=Target(name="small", allow_load=True, gateway_url="http://127.0.0.1"),
        thresholds=default_thresholds(),
        seed=7,
    )


def provisioned_for(plan: Plan) -> ProvisionedRun:
    """Tenants with two benign and two attack agents each; attack agents' ids begin with `bad`."""
    return ProvisionedRun(
        run_id=plan.run_id,
        plan_hash=plan_hash(plan),
        tenants=tuple(
            ProvisionedTenant(
                name=tenant.name,
                tenant_id=tenant.tenant_id,
                user_email=tenant_user_email(plan.run_id, tenant.name),
                benign_agents=(f"good-{tenant.name}-1", f"good-{tenant.name}-2"),
                attack_agents=(f"bad-{tenant.name}-1", f"bad-{tenant.name}-2"),
                fanout_agents=tuple(f"fan-{number}" for number in range(6)) if tenant.name == "B" else (),
            )
            for tenant in plan.tenants
        ),
        capabilities=(),
        clock_skew_s=0.0,
        provisioned_at="2026-11-23T07:30:00Z",
    )


def behaviour_for(plan: Plan, **changes: object) -> Behaviour:
    """A platform that knows the plan's tenants."""
    tenants = {tenant.name: tenant.tenant_id for tenant in plan.tenants}
    return msgspec.structs.replace(Behaviour(run_id=plan.run_id, tenants=tenants), **changes)


def example_session(
    *,
    name: str = "soak",
    users: dict[str, int] | None = None,
    pace_s: float = 0.25,
    warmup_s: float = 0.5,
    soak_s: float = 2.0,
    mix: dict[Kind, float] | None = None,
) -> LoadSession:
    """A warm-up and a soak."""
    users = users or {"A": 6, "B": 2, "C": 1, "D": 1, "E": 1}
    mix = dict(MIX) if mix is None else mix
    loads = {tenant: TenantLoad(active_users=count, pace_s=pace_s, mix=mix) for tenant, count in users.items()}
    return LoadSession(
        name=name,
        users=users,
        spawn_per_second=100.0,
        windows=(
            Window(index=0, phase=Phase.WARMUP, start_s=0.0, duration_s=warmup_s, settle_s=0.0, loads=loads),
            Window(index=1, phase=Phase.SOAK, start_s=warmup_s, duration_s=soak_s, settle_s=0.2, loads=loads),
        ),
    )


def example_spec(run_dir: Path, url: str, *, plan: Plan | None = None, session: LoadSession | None = None) -> LoadSpec:
    """A spec of the example."""
    plan = plan or example_plan()
    return LoadSpec(
        session=session or example_session(),
        fanout=False,
        plan=plan,
        provisioned=provisioned_for(plan),
        run_dir=str(run_dir),
        gateway_url=url,
        workers=1,
    )
