"""Freezes the plan, asks the target what can be measured, and creates the soak tenants. Re-runnable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from soak_pipeline.config.policy_file import find_policy, read_policy
from soak_pipeline.criteria.power.preview import criteria_that_need, preview
from soak_pipeline.criteria.power.words import log_lines
from soak_pipeline.criteria.wording import listed
from soak_pipeline.evidence.harness import harness_version
from soak_pipeline.model.plan import Plan, make_plan
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.model.stage_outputs import Capability, ProvisionedRun
from soak_pipeline.stages.clock import utc_now
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.sizing import fitted_plan
from soak_pipeline.stages.target_lock import hold_target
from soak_pipeline.target.addresses import addresses_of
from soak_pipeline.target.config import (
    load_target,
    refuse_beyond_caps,
    refuse_elsewhere,
    refuse_unless_confirmed,
    refuse_unless_load_allowed,
    resolve,
)
from soak_pipeline.target.preflight import preflight
from soak_pipeline.target.provisioning import provision as provision_tenants


def plan_of(request: SoakRequest, run_id: str, environment: Mapping[str, str]) -> Plan:
    """The plan that a request freezes to under a run id.

    Args:
        request: names the policy, or leaves it to the search.
        run_id: of the run.
        environment: where the search for a policy looks first.

    Raises:
        BadInput: every problem of the request, the policy or the target file.
        LoadRefused: more load than the target allows.
    """
    file = read_policy(find_policy(request.policy_path, environment))
    plan = make_plan(
        run_id=run_id,
        level=request.resolved(file.policy),
        policy=file.of_run,
        adjustments=tuple(request.adjustments()),
        target=load_target(Path(request.target_path)),
        seed=_seed_of(run_id) if request.seed is None else request.seed,
        release=request.release,
        commit=request.commit,
    )
    plan = msgspec.structs.replace(plan, harness=harness_version())
    refuse_beyond_caps(plan)
    return plan


def refuse_request(request: SoakRequest, run_id: str, environment: Mapping[str, str]) -> None:
    """Refuses what a run would refuse, as far as no credentials are needed: for a form, before its run exists.

    Raises:
        BadInput: every problem of the request, the policy or the target file.
        LoadRefused: the target allows no load, less load, or wants its name typed again.
    """
    plan = plan_of(request, run_id, environment)
    refuse_unless_confirmed(plan.target, production_confirmed_as=request.confirm_production)


def provision(context: StageContext, request: SoakRequest) -> ProvisionedRun:
    """Freezes the plan on the first call, then brings the target to the state that the load needs.

    Raises:
        BadInput, LoadRefused: before anything was sent.
        AlreadyRunning: another soak holds the target.
        TargetUnreachable: the target does not answer as it must.
    """
    if not context.folder.exists:
        plan = plan_of(request, context.folder.run_id, context.environment)
        resolved = resolve(plan.target, context.environment)
        refuse_unless_load_allowed(resolved, production_confirmed_as=request.confirm_production)
        hold_target(plan.target.name, plan.run_id, context.environment)
        context.folder.write_plan(fitted_plan(context, resolved, plan))
    plan = context.plan
    hold_target(plan.target.name, plan.run_id, context.environment)
    resolved = context.target()
    refuse_elsewhere(resolved)
    addresses = addresses_of(resolved.gateway_url)
    capabilities, clock_skew_s = preflight(resolved, plan)
    for capability in capabilities:
        if not capability.available:
            context.log(f"cannot measure {capability.name}: {capability.reason}; {_cost(plan, capability)}")
    expectations = preview(plan, capabilities)
    for line in log_lines(expectations):
        context.log(line)
    tenants = provision_tenants(resolved, plan)
    context.log(f"provisioned {len(tenants)} tenants on {plan.target.name}")
    return ProvisionedRun(
        run_id=plan.run_id,
        plan_hash=context.folder.plan_hash(),
        tenants=tenants,
        capabilities=capabilities,
        clock_skew_s=clock_skew_s,
        gateway_addresses=addresses,
        preview=expectations,
        provisioned_at=utc_now(),
    )


def _cost(plan: Plan, capability: Capability) -> str:
    """What the run will not be able to say without a capability."""
    criteria = criteria_that_need(plan, capability.name)
    if not criteria:
        return "no criterion depends on it"
    return f"{listed(criteria, most=len(criteria))} will be INCONCLUSIVE"


def _seed_of(run_id: str) -> int:
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4], "big")
