"""Where the soak window lies in the telemetry, for the gateway's own latency histogram."""

from __future__ import annotations

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.evidence.telemetry import Telemetry
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import Plan, soak_session
from soak_pipeline.model.stage_outputs import PhaseEvidence, ServerLatency
from soak_pipeline.model.traffic import Phase
from soak_pipeline.telemetry.server_latency import server_latency_between


def server_latencies(folder: RunFolder, plan: Plan, telemetry: Telemetry) -> tuple[ServerLatency, ...]:
    """Per tenant, over the judged part of the soak; None with the reason where there is no soak or no counter."""
    zero_us = _soak_zero_us(folder)
    if zero_us is None:
        return tuple(ServerLatency(tenant=tenant.name, reason="the soak did not begin") for tenant in plan.tenants)
    window = next(window for window in soak_session(plan).windows if window.phase is Phase.SOAK)
    start_s = zero_us / 1e6
    return server_latency_between(plan, telemetry, start_s + window.start_s, start_s + window.end_s)


def _soak_zero_us(folder: RunFolder) -> int | None:
    try:
        sessions = folder.read_output(Phase.SOAK.value, PhaseEvidence).sessions
    except EvidenceUnreadable:
        return None
    return sessions[0].zero_us if sessions else None
