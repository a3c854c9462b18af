"""Measures what the machine carries, before the plan is frozen, and fits the plan to it.

Owns the tenant that the measurement calls as: one of its own, which no criterion looks at, blocked as soon as the
measurement is over.
"""

from __future__ import annotations

import msgspec

from soak_pipeline.load.capacity import CapacityProbe, NotMeasured, measure_capacity
from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.plan import Plan, at_size, peak_load
from soak_pipeline.model.sizing import Capacity, fitted, unfitted
from soak_pipeline.stages.context import StageContext
from soak_pipeline.target.addresses import addresses_of
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.gateway import Gateway
from soak_pipeline.target.provisioning import close_sizing_tenant, open_sizing_tenant


def fitted_plan(context: StageContext, resolved: ResolvedTarget, plan: Plan) -> Plan:
    """The plan with a profile that the machine carries; the same plan where its profile is not to be fitted.

    Sends executed calls to the target for a few seconds. Where they cannot be made, the profile stays as it is, and the
    plan says why.
    """
    if not plan.profile.fit_to_machine:
        return plan
    context.log("measuring for a few seconds what this machine carries")
    shares = {tenant.name: tenant.share for tenant in plan.tenants}
    try:
        profile, sizing = fitted(plan.profile, shares, _measured(context, resolved, plan))
    except (NotMeasured, TargetFailed) as reason:
        profile, sizing = plan.profile, unfitted(str(reason))
    context.log(sizing.in_words(profile))
    return msgspec.structs.replace(at_size(plan, profile), sizing=sizing)


def _measured(context: StageContext, resolved: ResolvedTarget, plan: Plan) -> Capacity:
    with Gateway(resolved) as gateway:
        try:
            tenant_id, agent_id, token = open_sizing_tenant(gateway, plan)
            capacity = measure_capacity(
                CapacityProbe(
                    gateway_url=resolved.gateway_url,
                    addresses=addresses_of(resolved.gateway_url),
                    target=plan.target,
                    tenant_id=tenant_id,
                    agent_id=agent_id,
                    token=token,
                    requests_per_second_max=_fastest(plan),
                    timeout_s=plan.profile.request_timeout_s,
                ),
                context.environment,
            )
        finally:
            close_sizing_tenant(gateway, plan)
    if not capacity.requests:
        raise NotMeasured(f"{capacity.failed:,} calls, none of which was answered rightly")
    return capacity


def _fastest(plan: Plan) -> float:
    """Most calls per second of the measurement: on a platform that others use, no more than the run itself sends."""
    cap = plan.requests_per_second_max
    return cap if plan.target.embedded else min(cap, peak_load(plan)[1])
