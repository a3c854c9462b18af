"""Metrics of the platform's pages, by the series that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Names of metrics and labels.

    Attributes:
        process_series: gauges and counters of one process: by metric, the series.
        process_label: says whose gauge it is; without it the page's owner.
        gc_seconds: counter of the time spent in garbage collection.
        retries: counters that together count retries.
        requests: counter of requests.
        latency: the gateway's latency histogram by tenant.
        tenant_label: of that histogram, with the tenant's id.
    """

    process_series: Mapping[str, str]
    process_label: str
    gc_seconds: str
    retries: tuple[str, ...]
    requests: str
    latency: str
    tenant_label: str

    @property
    def latency_bucket(self) -> str:
        """Sample name of the histogram's buckets."""
        return f"{self.latency}_bucket"

    @property
    def latency_count(self) -> str:
        """Sample name of the histogram's observations."""
        return f"{self.latency}_count"

    @property
    def wanted(self) -> frozenset[str]:
        """Every sample name that is read from a page."""
        return frozenset(
            (
                *self.process_series,
                self.gc_seconds,
                *self.retries,
                self.requests,
                self.latency_bucket,
                self.latency_count,
            )
        )
