"""The gateway's own latency histogram over the judged part of the soak, from where the target file says."""

from __future__ import annotations

import msgspec

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.evidence.telemetry import Telemetry
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import Plan, soak_session
from soak_pipeline.model.stage_outputs import PhaseEvidence, ServerLatency
from soak_pipeline.model.traffic import Phase
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.telemetry.server_latency import server_latency_from_prometheus, server_latency_from_telemetry


def server_latencies(folder: RunFolder, plan: Plan, telemetry: Telemetry) -> tuple[ServerLatency, ...]:
    """Per tenant, over the judged part of the soak; None with the reason where there is no soak or no counter.

    A Prometheus that the target file names is asked; where it does not answer, the run's own samples of the metrics
    pages stand in for it, and the reason says so.
    """
    zero_us = _soak_zero_us(folder)
    if zero_us is None:
        return tuple(ServerLatency(tenant=tenant.name, reason="the soak did not begin") for tenant in plan.tenants)
    window = next(window for window in soak_session(plan).windows if window.phase is Phase.SOAK)
    start_s, end_s = zero_us / 1e6 + window.start_s, zero_us / 1e6 + window.end_s
    if plan.target.prometheus_url is None:
        return server_latency_from_telemetry(plan, telemetry, start_s, end_s)
    try:
        return server_latency_from_prometheus(plan, plan.target.prometheus_url, start_s, end_s)
    except Unreadable as unreadable:
        sampled = server_latency_from_telemetry(plan, telemetry, start_s, end_s)
        return tuple(_instead(latency, str(unreadable)) for latency in sampled)


def _instead(latency: ServerLatency, why: str) -> ServerLatency:
    reasons = [f"{why}; the metrics pages were read instead", latency.reason]
    return msgspec.structs.replace(latency, reason="; ".join(reason for reason in reasons if reason))


def _soak_zero_us(folder: RunFolder) -> int | None:
    try:
        sessions = folder.read_output(Phase.SOAK.value, PhaseEvidence).sessions
    except EvidenceUnreadable:
        return None
    return sessions[0].zero_us if sessions else None
