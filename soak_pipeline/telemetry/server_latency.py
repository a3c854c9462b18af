"""The gateway's own latency histogram per tenant over a stretch of the run: from a Prometheus, or from the telemetry.

Owns the differencing of its counters. Never interpolates within a bucket: only the share at or under a bucket's
boundary is exact, so where the limit is no boundary there is no answer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.evidence.telemetry import SeriesKey, Telemetry
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.series import Source
from soak_pipeline.model.stage_outputs import HistogramSource, ServerLatency
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.metrics import prometheus_range
from soak_pipeline.telemetry.platform_source import SERVER_REQUESTS, SERVER_REQUESTS_WITHIN_SLO, slo_s_of

Counters = Sequence[NDArray[np.float64]]
"""Readings of one counter of each process that has it, ascending in time."""


def server_latency_from_telemetry(
    plan: Plan, telemetry: Telemetry, start_s: float, end_s: float
) -> tuple[ServerLatency, ...]:
    """Observations of each tenant between the first and the last sample inside a stretch.

    Args:
        plan: its tenants and its latency limit.
        telemetry: of the run.
        start_s, end_s: of the stretch, seconds since the plan's epoch.

    Returns:
        Per tenant; None with the reason where the counters were not sampled or went back.
    """

    def counters(tenant: str, series: str) -> Counters:
        values = telemetry.get(SeriesKey(Source.PLATFORM.value, f"tenant {tenant}", series))
        return [] if values is None else [values.between(start_s, end_s).values]

    return tuple(
        _latency(
            plan,
            tenant.name,
            counters(tenant.name, SERVER_REQUESTS),
            counters(tenant.name, SERVER_REQUESTS_WITHIN_SLO),
            HistogramSource.METRICS_PAGES,
        )
        for tenant in plan.tenants
    )


def server_latency_from_prometheus(plan: Plan, url: str, start_s: float, end_s: float) -> tuple[ServerLatency, ...]:
    """The same from a Prometheus that scrapes the gateway.

    Series are added up per scraped process before they are read, which keeps a day's range small and counts a path
    that is first called within the stretch from nothing. A Prometheus answers with its last sample for five minutes, so
    it is also asked when the samples were taken: one that was away at an edge of the stretch has not counted all of it.

    Args:
        plan: its tenants, its latency limit, and its telemetry interval, which is the step of the query.
        url: of the Prometheus.
        start_s, end_s: of the stretch, seconds since the plan's epoch.

    Returns:
        Per tenant, with `unseen_s`; None with the reason where it has nothing of the tenant, or a counter went back.

    Raises:
        Unreadable: it does not answer, refuses a query, or knows none of the tenants.
    """
    epoch_s = plan.epoch_unix_us / 1e6
    start, end = (
        datetime.fromtimestamp(whole, UTC) for whole in (math.ceil(epoch_s + start_s), math.floor(epoch_s + end_s))
    )
    step_s = max(1.0, math.ceil(plan.profile.telemetry_interval_s))
    slo_s = {tenant.tenant_id: slo_s_of(plan, tenant.name) for tenant in plan.tenants}
    words = dialect_of(plan.target).metrics
    label = words.tenant_label
    of_tenants = f'{label}=~"{"|".join(tenant.tenant_id for tenant in plan.tenants)}"'

    def counters(sample_name: str, more: str = "") -> dict[str, list[NDArray[np.float64]]]:
        query = f"sum by ({label}, job, instance) ({sample_name}{{{of_tenants}{more}}})"
        found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for labels, points in prometheus_range(url, query, start, end, step_s).items():
            found[dict(labels).get(label, "")].append(np.array([value for _, value in points]))
        return found

    def within_limit(limit_s: float) -> dict[str, list[NDArray[np.float64]]]:
        boundaries = "|".join(sorted({f"{limit_s:g}", str(limit_s)}))  # `1` and `1.0` are the same boundary.
        found = counters(words.latency_bucket, f',le=~"{boundaries}"')
        return {tenant: values for tenant, values in found.items() if slo_s.get(tenant) == limit_s}

    requests = counters(words.latency_count)
    within = {
        tenant: values for limit_s in sorted(set(slo_s.values())) for tenant, values in within_limit(limit_s).items()
    }
    if not requests:
        raise Unreadable(f"Prometheus has no {words.latency} of the soak's tenants in its window")
    query = f"max by ({label}) (timestamp({words.latency_count}{{{of_tenants}}}))"
    sampled_unix_s = {
        dict(labels).get(label, ""): [unix_s for _, unix_s in points]
        for labels, points in prometheus_range(url, query, start, end, step_s).items()
    }
    return tuple(
        msgspec.structs.replace(
            _latency(
                plan,
                tenant.name,
                requests.get(tenant.tenant_id, []),
                within.get(tenant.tenant_id, []),
                HistogramSource.PROMETHEUS,
            ),
            unseen_s=_unseen_s(sampled_unix_s.get(tenant.tenant_id, []), start.timestamp(), end.timestamp(), step_s),
        )
        for tenant in plan.tenants
    )


def _unseen_s(sampled_unix_s: Sequence[float], start_unix_s: float, end_unix_s: float, step_s: float) -> float:
    """From an edge of a range to the sample that stands for it, at the edge that is worse off.

    A sample from before the start is as bad as one from after it: what is counted does not begin there.
    """
    last_unix_s = start_unix_s + (end_unix_s - start_unix_s) // step_s * step_s
    if not sampled_unix_s:
        return last_unix_s - start_unix_s
    return max(abs(sampled_unix_s[0] - start_unix_s), last_unix_s - sampled_unix_s[-1])


def _latency(plan: Plan, tenant: str, requests: Counters, within: Counters, source: HistogramSource) -> ServerLatency:
    slo_s = slo_s_of(plan, tenant)
    unknown = ServerLatency(tenant=tenant, slo_s=slo_s, source=source)
    counted = _increase(requests)
    if counted is None:
        reason = f"the histogram of tenant {tenant} has no two samples in the window, or was reset within it"
        return msgspec.structs.replace(unknown, reason=reason)
    if not within:
        reason = f"{slo_s * 1_000.0:g} ms is no bucket boundary of the gateway's histogram"
        return msgspec.structs.replace(unknown, requests=counted, reason=reason)
    within_slo = _increase(within)
    if within_slo is None:
        reason = f"the bucket of tenant {tenant} at {slo_s * 1_000.0:g} ms has no two samples, or was reset"
        return msgspec.structs.replace(unknown, requests=counted, reason=reason)
    return msgspec.structs.replace(unknown, requests=counted, within_slo=within_slo)


def _increase(counters: Counters) -> int | None:
    """Growth of a counter over all processes; None when one was read less than twice, or ever went back."""
    total = 0.0
    for readings in counters:
        values = readings[np.isfinite(readings)]
        if len(values) < 2 or bool(np.any(np.diff(values) < 0)):
            return None
        total += float(values[-1] - values[0])
    return round(total) if counters else None
