"""Targets and plans as the tests of this folder and of the telemetry need them."""

from __future__ import annotations

import msgspec

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.target import StopLever, Target
from soak_pipeline.target.config import MetricsPage, ResolvedTarget
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of

ADMIN_EMAIL = "admin@acp.local"
ADMIN_PASSWORD = "operator-secret-91"
RUN_ID = "20261123T073000Z"


def target(**changes: object) -> Target:
    return msgspec.structs.replace(
        Target(name="test", allow_load=True, production=False, gateway_url="http://127.0.0.1:18999"), **changes
    )


def resolved(
    of: Target | None = None,
    *,
    dsns: dict[str, str] | None = None,
    redis_url: str | None = None,
    pages: tuple[MetricsPage, ...] = (),
    gateway_url: str = "http://127.0.0.1:18999",
) -> ResolvedTarget:
    return ResolvedTarget(
        target=of or target(),
        gateway_url=gateway_url,
        admin_email=ADMIN_EMAIL,
        admin_password=ADMIN_PASSWORD,
        dsns=dsns or {},
        redis_url=redis_url,
        metrics_pages=pages,
    )


def plan(of: Target | None = None, **profile_changes: object) -> Plan:
    """A smoke plan with two agents of each kind per tenant and three in the fan-out."""
    smoke = profile_of("smoke")
    fanout = msgspec.structs.replace(smoke.fanout, agents=3)
    profile = msgspec.structs.replace(smoke, **{"agents_per_tenant": 2, "fanout": fanout, **profile_changes})
    return plan_by(run_id=RUN_ID, profile=profile, target=of or target(), thresholds=default_thresholds(), seed=7)


def with_lever(lever: StopLever) -> Target:
    return target(stop_lever=lever)
