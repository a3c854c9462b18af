"""What the platform says and what its rows say, once its pipelines have drained."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from soak_pipeline.evidence.acknowledged import acknowledged_keys, fanout_calls
from soak_pipeline.evidence.requests import RequestTable, read_requests
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.evidence.telemetry import read_telemetry
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import (
    ChainEvidence,
    Drain,
    GraphEvidence,
    PlatformEvidence,
    PlatformReading,
    ProvisionedRun,
    ReconcileEvidence,
    RootEvidence,
    TeardownReceipt,
)
from soak_pipeline.stages.clock import utc_now
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.server_latency import server_latencies
from soak_pipeline.target.audit_readers import read_tenants
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.drain import ROOTS_TIMEOUT_S, wait_for_drain, wait_for_roots
from soak_pipeline.target.gateway import Gateway
from soak_pipeline.target.graph import read_graph
from soak_pipeline.target.platform_chain import with_platform_answer
from soak_pipeline.target.preflight import clock_skew_s
from soak_pipeline.target.queues import read_dead_letters
from soak_pipeline.target.roots import published_key
from soak_pipeline.target.timelines import read_timelines


def collect(context: StageContext, provisioned: ProvisionedRun, teardown: TeardownReceipt) -> PlatformEvidence:
    """Waits, bounded, for the drain; then reads chain, reconciliation, timelines, roots and graph per tenant.

    Reads with operator credentials: the tenants' own are blocked by now. May be repeated at any time after the load:
    what an earlier reading saw of the drain is kept, and each reading is noted, so that the time to converge is known.
    """
    plan, resolved = context.plan, context.target()
    context.log("waiting for the platform's pipelines to drain")
    earlier = _earlier_reading(context.folder)
    drain = wait_for_drain(
        resolved,
        plan,
        load_stopped_unix_s=(plan.epoch_unix_us + teardown.load_stopped_us) / 1e6,
        timeout_s=plan.profile.drain_timeout_s,
    )
    wait_for_roots(resolved, plan, timeout_s=min(ROOTS_TIMEOUT_S, plan.profile.drain_timeout_s))
    context.log(f"drained: {drain.drained} after {drain.seconds:.0f} s; reading the evidence")
    requests = read_requests(context.folder.requests_dir)
    with Gateway(resolved) as gateway:
        chains, reconciliation, roots = _read_audit(context, resolved, gateway, requests)
        skew_s = clock_skew_s(resolved, gateway)
    return PlatformEvidence(
        drain=earlier.drain if earlier is not None and earlier.drain.drained and drain.drained else drain,
        chains=chains,
        reconciliation=reconciliation,
        timelines=tuple(read_timelines(resolved, tenant) for tenant in plan.tenants),
        roots=roots,
        graph=_graph(resolved, plan, provisioned, requests),
        server_latency=server_latencies(context.folder, plan, read_telemetry(context.folder.path)),
        clock_skew_s=skew_s,
        dead_letters=read_dead_letters(resolved),
        readings=(*(() if earlier is None else earlier.readings), reading_of(drain, reconciliation)),
        collected_at=utc_now(),
    )


def reading_of(drain: Drain, reconciliation: Sequence[ReconcileEvidence]) -> PlatformReading:
    """What a reading found, in short; a count that one tenant lacks is unknown."""
    gaps = [
        None
        if entry.audit_without_usage is None or entry.usage_without_audit is None
        else entry.audit_without_usage + entry.usage_without_audit
        for entry in reconciliation
    ]
    return PlatformReading(
        at_s=drain.seconds,
        drained=drain.drained,
        gaps=_sum(gaps),
        outbox_pending=_sum([entry.outbox_pending for entry in reconciliation]),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None


def _earlier_reading(folder: RunFolder) -> PlatformEvidence | None:
    """What the reading before this one left; None at the first."""
    try:
        return folder.read_output("platform_evidence", PlatformEvidence)
    except EvidenceUnreadable:
        return None


def _read_audit(
    context: StageContext, resolved: ResolvedTarget, gateway: Gateway, requests: RequestTable
) -> tuple[tuple[ChainEvidence, ...], tuple[ReconcileEvidence, ...], tuple[RootEvidence, ...]]:
    plan = context.plan
    audits = read_tenants(
        resolved.dsns,
        resolved.target,
        {tenant.name: acknowledged_keys(requests, plan.seed, tenant.name) for tenant in plan.tenants},
        plan.tenants,
        public_key_pem=published_key(gateway),
        directory=context.folder.control_dir,
    )
    chains = (
        with_platform_answer(audit.chain, gateway, tenant) for audit, tenant in zip(audits, plan.tenants, strict=True)
    )
    return (
        tuple(chains),
        tuple(audit.reconciliation for audit in audits),
        tuple(root for audit in audits for root in audit.roots),
    )


def _graph(resolved: ResolvedTarget, plan: Plan, provisioned: ProvisionedRun, requests: RequestTable) -> GraphEvidence:
    name = plan.profile.fanout.tenant
    tenant = next(tenant for tenant in provisioned.tenants if tenant.name == name)
    calls = fanout_calls(requests, plan.seed)
    agents = {tenant.fanout_agents[user] for user in calls.users}
    evidence = read_graph(resolved, plan.tenant(name), agents, calls.request_ids)
    if calls.request_ids:
        return evidence
    return msgspec.structs.replace(evidence, missing_edges=None, reason="no call of the fan-out was allowed")
