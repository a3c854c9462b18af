"""The content of `latency.json`: percentiles per tenant and kind on both clocks, windows, the server's count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.analysis.dependence import exceedance_design_effect
from soak_pipeline.analysis.percentiles import (
    PercentileEstimate,
    WindowedPercentiles,
    percentile_estimates,
    windowed_percentiles,
)
from soak_pipeline.analysis.proportions import shares_agree
from soak_pipeline.criteria.latency.samples import LatencyGroup, latency_groups
from soak_pipeline.criteria.windows import fairness_windows, judged_seconds, looks_taken, soak_stretch_s
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.requests import Mask, RequestTable
from soak_pipeline.model.documents import (
    LatencyDocument,
    LatencyRow,
    LatencyWindow,
    Percentile,
    Percentiles,
    ServerCrossCheck,
)
from soak_pipeline.model.traffic import Kind, Operation, Phase

JUDGED_KIND = Kind.ALLOWED
JUDGED_SHARE = 0.95
CONFIDENCE = 0.95
WINDOW_S = 300.0
AGREEMENT_MARGIN = 0.01
"""Difference of two shares that counts as none; beyond it, the sampling error decides."""

_WITHOUT_TENANT = (
    Operation.MISC_BAD_TOKEN,
    Operation.MISC_NO_TOKEN,
    Operation.MISC_OVERSIZE,
    Operation.MISC_HEALTH,
    Operation.LOGIN,
)


def latency_document(evidence: RunEvidence) -> LatencyDocument:
    """Every latency figure of the run."""
    groups = latency_groups(evidence)
    seconds = judged_seconds_by_phase(evidence)
    judged = [group for group in groups if group.phase is Phase.SOAK and group.kind is JUDGED_KIND]
    return LatencyDocument(
        run_id=evidence.plan.run_id,
        limit_ms=evidence.thresholds.gateway_latency_ms_p95_max,
        limit_ms_by_tenant={
            name: evidence.thresholds_of(name).gateway_latency_ms_p95_max for name in evidence.plan.tenant_names
        },
        judged_kind=JUDGED_KIND.value,
        rows=tuple(_row(group, seconds.get(group.phase, 0.0)) for group in groups),
        windows=tuple(window for group in judged for window in _windows(evidence, group)),
        server=server_cross_checks(evidence),
    )


def judged_seconds_by_phase(evidence: RunEvidence) -> dict[Phase, float]:
    """Planned seconds of each judged phase, without settling."""
    windows = fairness_windows(evidence.plan, looks_taken(evidence))
    return {
        Phase.BASELINE: judged_seconds(windows.of_phase(Phase.BASELINE)),
        Phase.BURST: judged_seconds(windows.of_phase(Phase.BURST)),
        Phase.SOAK: evidence.plan.profile.soak_s,
    }


def soak_windows(evidence: RunEvidence, group: LatencyGroup) -> WindowedPercentiles | None:
    """p95 of consecutive windows of the soak against the limit; None when the soak never began."""
    stretch = soak_stretch_s(evidence)
    if stretch is None:
        return None
    return windowed_percentiles(
        group.times_s,
        group.latency_ms,
        JUDGED_SHARE,
        limit=evidence.thresholds_of(group.tenant).gateway_latency_ms_p95_max,
        start_s=stretch[0],
        end_s=stretch[1],
        window_s=WINDOW_S,
        confidence=CONFIDENCE,
    )


def design_effect(group: LatencyGroup) -> float:
    """How much less the samples are worth because slow requests come together; at least 1."""
    return exceedance_design_effect(group.times_s, group.latency_ms, JUDGED_SHARE)


def percentiles(values: NDArray[np.float64], effect: float = 1.0) -> Percentiles:
    """p50, p95 and p99 with their intervals."""
    p50, p95, p99 = (
        as_percentile(estimate)
        for estimate in percentile_estimates(
            values, (0.50, JUDGED_SHARE, 0.99), confidence=CONFIDENCE, design_effect=effect
        )
    )
    return Percentiles(p50=p50, p95=p95, p99=p99)


def as_percentile(estimate: PercentileEstimate) -> Percentile:
    """An estimate as the documents hold it."""
    return Percentile(value=estimate.value, lower=estimate.lower, upper=estimate.upper)


def server_cross_checks(evidence: RunEvidence) -> tuple[ServerCrossCheck, ...]:
    """The gateway's histogram beside our service times, per tenant; both over all answered kinds of the soak.

    The server's time is from the request read to the answer written, so the client's nearest figure is the service
    time. Calls whose token is absent, wrong or not looked at (too large a body) are no tenant's to the server, and are
    left out here as well.
    """
    if evidence.platform_evidence is None:
        return ()
    requests = evidence.requests
    counted = _known_to_the_server(requests) if len(requests) else None
    checks = []
    for server in evidence.platform_evidence.server_latency:
        within_ms = server.slo_s * 1_000.0
        client_within = client_total = 0
        if counted is not None:
            service_us = requests.columns["service_us"][counted & requests.where(tenant=server.tenant)]
            client_within, client_total = int((service_us <= within_ms * 1_000.0).sum()), len(service_us)
        server_share = agreement = None
        if server.requests and server.within_slo is not None:
            server_share = server.within_slo / server.requests
            if client_total:
                agreement, _ = shares_agree(
                    client_within, client_total, server.within_slo, server.requests, margin=AGREEMENT_MARGIN
                )
        checks.append(
            ServerCrossCheck(
                tenant=server.tenant,
                within_ms=within_ms,
                server_requests=server.requests,
                client_requests=client_total,
                server_share=server_share,
                client_share=client_within / client_total if client_total else None,
                agreement=None if agreement is None else agreement.value,
                source=server.source,
                unseen_s=server.unseen_s,
                reason=server.reason or ("one side counted no request" if agreement is None else ""),
            )
        )
    return tuple(checks)


def _known_to_the_server(requests: RequestTable) -> Mask:
    """Answered requests of the soak that the server counts under a tenant."""
    answered = requests.where(phase=Phase.SOAK) & (requests.columns["status"] > 0)
    return answered & ~requests.where(operation=_WITHOUT_TENANT)


def _row(group: LatencyGroup, phase_s: float) -> LatencyRow:
    effect = design_effect(group)
    return LatencyRow(
        phase=group.phase.value,
        tenant=group.tenant,
        kind=group.kind.value,
        requests=group.requests,
        outcomes=group.outcomes,
        samples=len(group.latency_ms),
        unanswered=group.unanswered,
        requests_per_second=group.requests / phase_s if phase_s else None,
        latency_ms=percentiles(group.latency_ms, effect),
        service_ms=percentiles(group.service_ms, effect),
    )


def _windows(evidence: RunEvidence, group: LatencyGroup) -> list[LatencyWindow]:
    windowed = soak_windows(evidence, group)
    return [
        LatencyWindow(
            tenant=group.tenant,
            start_s=window.start_s,
            end_s=window.end_s,
            samples=window.estimate.samples,
            latency_ms_p95=as_percentile(window.estimate),
        )
        for window in (windowed.windows if windowed else ())
    ]
