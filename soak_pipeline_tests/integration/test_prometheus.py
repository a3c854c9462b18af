"""The gateway's histogram through a real Prometheus that scrapes a real exporter."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Histogram, start_http_server

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import HistogramSource, ServerLatency
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.metrics import prometheus_range
from soak_pipeline.telemetry.server_latency import server_latency_from_prometheus
from soak_pipeline_tests.infra.servers import free_port
from soak_pipeline_tests.policies import default_thresholds
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.prometheus_server import PROMETHEUS, WITHOUT, start_prometheus
from soak_pipeline_tests.waiting import wait_for

AWAY_S = 15.0

pytestmark = [pytest.mark.integration, pytest.mark.skipif(PROMETHEUS is None, reason=WITHOUT)]

LATENCY_METRIC = nominal.DIALECT.metrics.latency


@contextmanager
def exporter() -> Iterator[tuple[str, Histogram]]:
    """Address of a metrics page, and the histogram on it."""
    registry = CollectorRegistry()
    histogram = Histogram(
        LATENCY_METRIC, "x", ["tenant_id", "method", "path"], buckets=(0.1, 0.25, 1.0), registry=registry
    )
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield f"127.0.0.1:{server.server_port}", histogram
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def prometheus(scraped: str, directory: Path) -> Iterator[str]:
    """Base URL of a Prometheus that scrapes one address several times a second.

    It is killed: one that ends in order breaks off a scrape, and may store that the page is gone.
    """
    port = free_port()
    process = start_prometheus(scraped, directory, port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def count_of(url: str, tenant_id: str) -> float | None:
    """The newest count of a tenant that the Prometheus has; None before it has any."""
    now = datetime.now(UTC)
    query = f'sum({LATENCY_METRIC}_count{{tenant_id="{tenant_id}"}})'
    try:
        series = prometheus_range(url, query, now - timedelta(seconds=5), now + timedelta(seconds=1), 1.0)
    except Unreadable:
        return None
    return next((points[-1][1] for points in series.values()), None)


def plan_of_now() -> Plan:
    plan = examples.plan(telemetry_interval_s=1.0)
    return msgspec.structs.replace(plan, epoch_unix_us=int(time.time() - 60) * 1_000_000)


def test_the_histogram_of_the_window_comes_through_a_prometheus(tmp_path: Path) -> None:
    plan = plan_of_now()
    epoch_s = plan.epoch_unix_us / 1e6
    tenant_id = plan.tenants[0].tenant_id
    with exporter() as (address, histogram), prometheus(address, tmp_path) as url:
        for _ in range(40):  # The warm-up, all of it slow: it must not count.
            histogram.labels(tenant_id, "POST", "/execute/{tool}").observe(0.9)
        wait_for(lambda: count_of(url, tenant_id) == 40, "the warm-up is scraped")
        start_s = math.ceil(time.time() - epoch_s)
        wait_for(lambda: time.time() - epoch_s > start_s + 0.5, "the window begins")
        for path in ("/execute/{tool}", "/audit/logs"):  # A path that is first called within the window.
            for seconds in (*[0.05] * 60, *[0.25] * 20, *[0.251] * 5):
                histogram.labels(tenant_id, "POST", path).observe(seconds)
        wait_for(lambda: count_of(url, tenant_id) == 40 + 170, "the window is scraped")
        end_s = math.ceil(time.time() - epoch_s) + 1
        wait_for(lambda: time.time() - epoch_s > end_s + 0.5, "the window ends")

        latencies = server_latency_from_prometheus(plan, url, start_s, end_s)
        other = msgspec.structs.replace(plan, thresholds=default_thresholds(gateway_latency_ms_p95_max=200.0))
        no_boundary = server_latency_from_prometheus(other, url, start_s, end_s)[0]

    # Twice 60 + 20 at or under the boundary, of twice 85.
    unseen_s = latencies[0].unseen_s
    assert latencies[0] == ServerLatency(
        tenant="A", requests=170, within_slo=160, source=HistogramSource.PROMETHEUS, unseen_s=unseen_s
    )
    assert unseen_s is not None
    assert 0.0 <= unseen_s < end_s - start_s
    assert latencies[1].requests is None
    assert (no_boundary.requests, no_boundary.within_slo) == (170, None)
    assert no_boundary.reason == "200 ms is no bucket boundary of the gateway's histogram"


def test_a_prometheus_that_was_away_for_the_end_of_the_window_says_so(tmp_path: Path) -> None:
    """It answers with its last sample for five minutes, so the counters alone do not tell."""
    plan = plan_of_now()
    epoch_s = plan.epoch_unix_us / 1e6
    tenant_id = plan.tenants[0].tenant_id
    with exporter() as (address, histogram):
        observed = histogram.labels(tenant_id, "POST", "/execute/{tool}")
        observed.observe(0.1)
        with prometheus(address, tmp_path) as url:
            wait_for(lambda: count_of(url, tenant_id) == 1, "the page is scraped")
            start_s = math.ceil(time.time() - epoch_s)
            wait_for(lambda: time.time() - epoch_s > start_s + 1.0, "the window begins")
        gone_s = time.time() - epoch_s
        observed.observe(0.1)  # Nobody sees this one.
        end_s = math.ceil(gone_s) + AWAY_S
        wait_for(lambda: time.time() - epoch_s > end_s, "the window ends")
        # Nothing more is scraped: the page is gone as well.
    with prometheus(address, tmp_path) as url:
        wait_for(lambda: count_of(url, tenant_id) == 1, "Prometheus answers again")
        latency = server_latency_from_prometheus(plan, url, start_s, end_s)[0]

    assert (latency.requests, latency.source) == (0, HistogramSource.PROMETHEUS)
    assert latency.unseen_s is not None
    # At least while it was away; longer where its last scrape was late.
    assert end_s - gone_s - 1.0 <= latency.unseen_s <= end_s - start_s


def test_a_prometheus_that_refuses_the_query_is_unreadable(tmp_path: Path) -> None:
    with exporter() as (address, _), prometheus(address, tmp_path) as url:
        now = datetime.now(UTC)
        wait_for(lambda: _answers(url, now), "Prometheus answers")
        with pytest.raises(Unreadable, match="Prometheus"):
            prometheus_range(url, "sum(", now, now, 1.0)


def _answers(url: str, now: datetime) -> bool:
    try:
        prometheus_range(url, "up", now, now, 1.0)
    except Unreadable:
        return False
    return True
