"""The gateway's histogram through a real Prometheus that scrapes a real exporter."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Histogram, start_http_server

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import HistogramSource, ServerLatency
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.metrics import LATENCY_METRIC, prometheus_range
from soak_pipeline.telemetry.server_latency import server_latency_from_prometheus
from soak_pipeline_tests.target import examples

PROMETHEUS = shutil.which("prometheus")
WITHIN_S = 60.0
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (Debian: apt-get install prometheus)"),
]


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
    """Base URL of a Prometheus that scrapes one address several times a second."""
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n"
        "scrape_configs:\n"
        f"  - {{job_name: gateway, static_configs: [{{targets: ['{scraped}']}}]}}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PROMETHEUS),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"{what} within {WITHIN_S:g} s"
        time.sleep(0.1)


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
        wait_until(lambda: count_of(url, tenant_id) == 40, "the warm-up is scraped")
        start_s = math.ceil(time.time() - epoch_s)
        wait_until(lambda: time.time() - epoch_s > start_s + 0.5, "the window begins")
        for path in ("/execute/{tool}", "/audit/logs"):  # A path that is first called within the window.
            for seconds in (*[0.05] * 60, *[0.25] * 20, *[0.251] * 5):
                histogram.labels(tenant_id, "POST", path).observe(seconds)
        wait_until(lambda: count_of(url, tenant_id) == 40 + 170, "the window is scraped")
        end_s = math.ceil(time.time() - epoch_s) + 1
        wait_until(lambda: time.time() - epoch_s > end_s + 0.5, "the window ends")

        latencies = server_latency_from_prometheus(plan, url, start_s, end_s)
        other = msgspec.structs.replace(plan, thresholds=Thresholds(gateway_latency_ms_p95_max=200.0))
        no_boundary = server_latency_from_prometheus(other, url, start_s, end_s)[0]

    # Twice 60 + 20 at or under the boundary, of twice 85.
    assert latencies[0] == ServerLatency(tenant="A", requests=170, within_slo=160, source=HistogramSource.PROMETHEUS)
    assert latencies[1].requests is None
    assert (no_boundary.requests, no_boundary.within_slo) == (170, None)
    assert no_boundary.reason == "200 ms is no bucket boundary of the gateway's histogram"


def test_a_prometheus_that_refuses_the_query_is_unreadable(tmp_path: Path) -> None:
    with exporter() as (address, _), prometheus(address, tmp_path) as url:
        now = datetime.now(UTC)
        wait_until(lambda: _answers(url, now), "Prometheus answers")
        with pytest.raises(Unreadable, match="Prometheus"):
            prometheus_range(url, "sum(", now, now, 1.0)


def _answers(url: str, now: datetime) -> bool:
    try:
        prometheus_range(url, "up", now, now, 1.0)
    except Unreadable:
        return False
    return True
