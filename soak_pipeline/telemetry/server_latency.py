"""The gateway's own latency histogram per tenant over a stretch of the run, from the telemetry.

Owns the differencing of its counters. Never interpolates within a bucket: only the share at or under a bucket's
boundary is exact.
"""

from __future__ import annotations

import numpy as np

from soak_pipeline.evidence.telemetry import Series, SeriesKey, Telemetry
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.series import Source
from soak_pipeline.model.stage_outputs import ServerLatency
from soak_pipeline.telemetry.platform_source import SERVER_REQUESTS, SERVER_REQUESTS_WITHIN_SLO, SLO_S


def server_latency_between(plan: Plan, telemetry: Telemetry, start_s: float, end_s: float) -> tuple[ServerLatency, ...]:
    """Observations of each tenant between the first and the last sample inside a stretch.

    Args:
        plan: its tenants.
        telemetry: of the run.
        start_s, end_s: of the stretch, seconds since the plan's epoch.

    Returns:
        Per tenant; None with the reason where the counters were not sampled or went back.
    """
    return tuple(_of_tenant(tenant.name, telemetry, start_s, end_s) for tenant in plan.tenants)


def _of_tenant(tenant: str, telemetry: Telemetry, start_s: float, end_s: float) -> ServerLatency:
    counts = []
    for series in (SERVER_REQUESTS, SERVER_REQUESTS_WITHIN_SLO):
        values = telemetry.get(SeriesKey(Source.PLATFORM.value, f"tenant {tenant}", series))
        increase = None if values is None else _increase(values.between(start_s, end_s))
        if increase is None:
            reason = f"{series} of tenant {tenant} has no two samples in the window, or was reset within it"
            return ServerLatency(tenant=tenant, slo_s=SLO_S, reason=reason)
        counts.append(increase)
    requests, within_slo = counts
    return ServerLatency(tenant=tenant, requests=requests, within_slo=within_slo, slo_s=SLO_S)


def _increase(series: Series) -> int | None:
    """Growth of a counter; None when it was read less than twice, or ever went back."""
    values = series.values[np.isfinite(series.values)]
    if len(values) < 2 or bool(np.any(np.diff(values) < 0)):
        return None
    return round(float(values[-1] - values[0]))
