"""The platform's metrics pages as telemetry: processes, pools, retries, latency per tenant.

Owns what becomes of each metric. Never asks anything but the pages.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict

from soak_pipeline.dialect.metrics import Metrics
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.series import PAGE_OWNER_PREFIX, Source
from soak_pipeline.target.config import MetricsPage, ResolvedTarget
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.metrics import Sample, fetch_page, metrics_client, parse_metrics
from soak_pipeline.telemetry.source import Reading

SERVER_REQUESTS = "server_requests_total"
SERVER_REQUESTS_WITHIN_SLO = "server_requests_within_slo_total"


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
        self._headers = resolved.metrics_headers()
        self._words = resolved.dialect.metrics
        self._wanted = self._words.wanted
        self._tenants = {
            tenant.tenant_id: (f"tenant {tenant.name}", slo_s_of(plan, tenant.name)) for tenant in plan.tenants
        }
        self._client = metrics_client()
        self._retries = _RetryShare(self._words)
        self._gc = _TimeShare()

    def read(self) -> list[Reading]:
        """Every wanted value of the page.

        Raises:
            Unreadable: the page does not answer, or has nothing of what is wanted.
        """
        text = fetch_page(self._client, self._page.url, self._headers)
        read_s = time.monotonic()
        samples = list(parse_metrics(text, self._wanted))
        if not samples:
            raise Unreadable(f"{self._page.url} has none of the metrics that are sampled")
        readings = [
            Reading(Source.PLATFORM, self._owner(sample), series, sample.value)
            for sample in samples
            if (series := self._words.process_series.get(sample.name))
        ]
        readings += self._latencies(samples)
        retries = _total(samples, self._words.retries)
        if retries is not None:
            readings.append(Reading(Source.PLATFORM, self._page.owner, "retries_total", retries))
        for sample in samples:
            if sample.name == self._words.gc_seconds:
                owner = self._owner(sample)
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

    def _owner(self, sample: Sample) -> str:
        return sample.labels.get(self._words.process_label, self._page.owner)

    def _latencies(self, samples: list[Sample]) -> list[Reading]:
        """Per tenant: requests so far, and how many of them were within the SLO; over all methods and paths."""
        requests: dict[str, float] = defaultdict(float)
        within: dict[str, float] = defaultdict(float)
        count, bucket, label = self._words.latency_count, self._words.latency_bucket, self._words.tenant_label
        for name, labels, value in samples:
            known = self._tenants.get(labels.get(label, ""))
            if known is None:
                continue
            owner, slo_s = known
            if name == count:
                requests[owner] += value
            elif name == bucket and _is_boundary(labels.get("le", ""), slo_s):
                within[owner] += value
        return [
            Reading(Source.PLATFORM, owner, series, total[owner])
            for owner in requests
            for series, total in ((SERVER_REQUESTS, requests), (SERVER_REQUESTS_WITHIN_SLO, within))
            if owner in total
        ]


class _RetryShare:
    """Retries per request between two reads of a page that counts both."""

    def __init__(self, words: Metrics) -> None:
        self._words = words
        self._retries: float | None = None
        self._requests: float | None = None

    def since_last(self, samples: list[Sample]) -> float | None:
        """None at the first read, after a restart, and on a page that counts no retries or no requests."""
        retries = _total(samples, self._words.retries)
        requests = _total(samples, (self._words.requests,))
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
