"""The platform's `/metrics` pages as telemetry: processes, pools, retries, latency per tenant.

Owns which metric becomes which series. Never asks anything but `/metrics`.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.series import PAGE_OWNER_PREFIX, PROCESS_START_SERIES, Source
from soak_pipeline.target.config import MetricsPage, ResolvedTarget
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.metrics import LATENCY_METRIC, Sample, fetch_page, metrics_client, parse_metrics
from soak_pipeline.telemetry.source import Reading

SERVER_REQUESTS = "server_requests_total"
SERVER_REQUESTS_WITHIN_SLO = "server_requests_within_slo_total"

_PROCESS_SERIES: Mapping[str, str] = {
    "process_resident_memory_bytes": "rss_bytes",
    "process_unique_memory_bytes": "uss_bytes",
    "process_open_fds": "open_fds",
    "process_threads": "threads",
    "process_cpu_seconds_total": "cpu_seconds_total",
    "process_start_time_seconds": PROCESS_START_SERIES,
    "acp_gateway_db_pool_waiters": "db_pool_waiters",
    "acp_gateway_queue_waiters": "queue_waiters",
    "acp_gateway_inflight_requests": "inflight_requests",
    "acp_gateway_redis_pending_commands": "redis_pending_commands",
    "acp_gateway_event_loop_lag_seconds": "event_loop_lag_s",
}
"""Gauges of one process: by metric, the series. Owner is the label `process`, or else the page's owner."""

_GC_SECONDS = "process_gc_seconds_total"
_RETRIES = ("acp_gateway_retries_total", "acp_worker_retries_total", "acp_outbox_retry_total")
_REQUESTS = "acp_gateway_requests_total"
_BUCKET = f"{LATENCY_METRIC}_bucket"
_COUNT = f"{LATENCY_METRIC}_count"
_WANTED = frozenset((*_PROCESS_SERIES, _GC_SECONDS, *_RETRIES, _REQUESTS, _BUCKET, _COUNT))


def slo_s_of(plan: Plan, tenant: str) -> float:
    """A tenant's latency limit (seconds); the server's share within it is exact only where it is a bucket boundary."""
    return plan.thresholds_of(tenant).gateway_latency_ms_p95_max / 1_000.0


class PageSource:
    """One metrics page.

    Args:
        resolved: the target.
        plan: whose tenants' latencies are wanted.
        page: which page.
    """

    def __init__(self, resolved: ResolvedTarget, plan: Plan, page: MetricsPage) -> None:
        self.name = f"{PAGE_OWNER_PREFIX}{page.owner}"
        self._page = page
        self._secret = resolved.metrics_secret
        self._tenants = {
            tenant.tenant_id: (f"tenant {tenant.name}", slo_s_of(plan, tenant.name)) for tenant in plan.tenants
        }
        self._client = metrics_client()
        self._retries = _RetryShare()
        self._gc = _TimeShare()

    def read(self) -> list[Reading]:
        """Every wanted value of the page.

        Raises:
            Unreadable: the page does not answer, or has nothing of what is wanted.
        """
        text = fetch_page(self._client, self._page.url, self._secret)
        read_s = time.monotonic()
        samples = list(parse_metrics(text, _WANTED))
        if not samples:
            raise Unreadable(f"{self._page.url} has none of the metrics that are sampled")
        readings = [
            Reading(Source.PLATFORM, sample.labels.get("process", self._page.owner), series, sample.value)
            for sample in samples
            if (series := _PROCESS_SERIES.get(sample.name))
        ]
        readings += self._latencies(samples)
        retries = _total(samples, _RETRIES)
        if retries is not None:
            readings.append(Reading(Source.PLATFORM, self._page.owner, "retries_total", retries))
        for sample in samples:
            if sample.name == _GC_SECONDS:
                owner = sample.labels.get("process", self._page.owner)
                gc_share = self._gc.since_last(owner, sample.value, read_s)
                if gc_share is not None:
                    readings.append(Reading(Source.PLATFORM, owner, "gc_share", gc_share))
        share = self._retries.since_last(samples)
        if share is not None:
            readings.append(Reading(Source.PLATFORM, self._page.owner, "retries_per_request", share))
        return readings

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _latencies(self, samples: list[Sample]) -> list[Reading]:
        """Per tenant: requests so far, and how many of them were within the SLO; over all methods and paths."""
        requests: dict[str, float] = defaultdict(float)
        within: dict[str, float] = defaultdict(float)
        for name, labels, value in samples:
            known = self._tenants.get(labels.get("tenant_id", ""))
            if known is None:
                continue
            owner, slo_s = known
            if name == _COUNT:
                requests[owner] += value
            elif name == _BUCKET and _is_boundary(labels.get("le", ""), slo_s):
                within[owner] += value
        return [
            Reading(Source.PLATFORM, owner, series, total[owner])
            for owner in requests
            for series, total in ((SERVER_REQUESTS, requests), (SERVER_REQUESTS_WITHIN_SLO, within))
            if owner in total
        ]


class _RetryShare:
    """Retries per request between two reads of a page that counts both."""

    def __init__(self) -> None:
        self._retries: float | None = None
        self._requests: float | None = None

    def since_last(self, samples: list[Sample]) -> float | None:
        """None at the first read, after a restart, and on a page that counts no retries or no requests."""
        retries = _total(samples, _RETRIES)
        requests = _total(samples, (_REQUESTS,))
        # A counter with labels shows nothing before its first retry; a page that counts requests has none so far.
        if retries is None and requests is not None:
            retries = 0.0
        before = (self._retries, self._requests)
        self._retries, self._requests = retries, requests
        if retries is None or requests is None or before[0] is None or before[1] is None:
            return None
        new_requests = requests - before[1]
        new_retries = retries - before[0]
        return new_retries / new_requests if new_requests > 0 and new_retries >= 0 else None


class _TimeShare:
    """Seconds of an activity per second of time, per process, between two reads of its counter."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def since_last(self, owner: str, seconds: float, read_s: float) -> float | None:
        """None at the first read, after a restart, and where no time has passed.

        Args:
            owner: the process.
            seconds: its counter.
            read_s: when it was read, on a monotonic clock.
        """
        before = self._last.get(owner)
        self._last[owner] = (seconds, read_s)
        if before is None or seconds < before[0] or read_s <= before[1]:
            return None
        return (seconds - before[0]) / (read_s - before[1])


def _total(samples: list[Sample], names: tuple[str, ...]) -> float | None:
    values = [sample.value for sample in samples if sample.name in names]
    return sum(values) if values else None


def _is_boundary(label: str, seconds: float) -> bool:
    try:
        return math.isclose(float(label), seconds, rel_tol=1e-9)
    except ValueError:
        return False
