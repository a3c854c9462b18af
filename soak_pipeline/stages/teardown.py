"""Blocks every soak tenant, and proves the silence."""

from __future__ import annotations

import time

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import ProvisionedRun, TeardownReceipt
from soak_pipeline.stages.clock import now_us, unix_s_to_us
from soak_pipeline.stages.context import StageContext
from soak_pipeline.target.audit import executed_after
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.queues import read_backlog
from soak_pipeline.target.stop import Silence, block_tenants

AUDIT_DRAIN_S = 20.0


def teardown(context: StageContext, provisioned: ProvisionedRun) -> TeardownReceipt:
    """Sets the stop lever on every tenant, calls in vain, and counts executions that came later all the same."""
    plan, resolved = context.plan, context.target()
    load_stopped_us = now_us(plan)
    silence = block_tenants(resolved, plan, provisioned.tenants)
    context.log(f"{sum(tenant.blocked for tenant in silence.tenants)} of {len(silence.tenants)} tenants are blocked")
    return receipt_of(resolved, plan, silence, load_stopped_us)


def receipt_of(resolved: ResolvedTarget, plan: Plan, silence: Silence, load_stopped_us: int) -> TeardownReceipt:
    """The receipt of a silence, with the audit rows that contradict it."""
    rows_after = None
    if silence.blocked_at is not None:
        _wait_for_audit(resolved)
        tenant_ids = [tenant.tenant_id for tenant in plan.tenants]
        rows_after = executed_after(resolved, tenant_ids, silence.blocked_at, silence.probe_request_ids)
    return TeardownReceipt(
        tenants=silence.tenants,
        lever=silence.lever.value,
        load_stopped_us=load_stopped_us,
        blocked_us=None if silence.blocked_unix_s is None else unix_s_to_us(plan, silence.blocked_unix_s),
        audit_rows_after_block=rows_after,
    )


def _wait_for_audit(resolved: ResolvedTarget) -> None:
    """Until the audit stream is empty, bounded: a row that is still on its way would not be counted."""
    deadline = time.monotonic() + AUDIT_DRAIN_S
    stream = resolved.dialect.queues.audit_stream
    while read_backlog(resolved).left.get(stream, 0) and time.monotonic() < deadline:
        time.sleep(0.5)
