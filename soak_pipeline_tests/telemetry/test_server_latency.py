from __future__ import annotations

import numpy as np
import pytest

from soak_pipeline.evidence.telemetry import Series, SeriesKey, Telemetry
from soak_pipeline.model.stage_outputs import ServerLatency
from soak_pipeline.telemetry.server_latency import server_latency_between
from soak_pipeline_tests.target import examples

PLAN = examples.plan()


def _telemetry(requests: list[float], within: list[float]) -> Telemetry:
    times = np.arange(len(requests)) * 5.0
    return {
        SeriesKey("platform", "tenant A", "server_requests_total"): Series(times, np.array(requests)),
        SeriesKey("platform", "tenant A", "server_requests_within_slo_total"): Series(times, np.array(within)),
    }


def _of_a(telemetry: Telemetry, start_s: float, end_s: float) -> ServerLatency:
    return server_latency_between(PLAN, telemetry, start_s, end_s)[0]


def test_counters_are_differenced_at_the_edges_of_the_window() -> None:
    telemetry = _telemetry([100, 200, 350, 500, 900], [90, 190, 330, 470, 800])
    assert _of_a(telemetry, 5.0, 15.0) == ServerLatency(tenant="A", requests=300, within_slo=280)
    assert _of_a(telemetry, 1.0, 19.9) == ServerLatency(tenant="A", requests=300, within_slo=280)


def test_a_sample_that_failed_is_passed_over() -> None:
    telemetry = _telemetry([100, np.nan, 350, np.nan], [90, np.nan, 330, np.nan])
    assert _of_a(telemetry, 0.0, 15.0) == ServerLatency(tenant="A", requests=250, within_slo=240)


@pytest.mark.parametrize(
    ("requests", "end_s"),
    [([100, 200, 50], 10.0), ([100.0, 200.0], 4.0), ([np.nan, np.nan], 5.0), ([], 5.0)],
    ids=["reset", "one sample in the window", "nothing readable", "nothing sampled"],
)
def test_what_cannot_be_differenced_is_unknown(requests: list[float], end_s: float) -> None:
    latency = _of_a(_telemetry(requests, requests), 0.0, end_s)
    assert (latency.requests, latency.within_slo) == (None, None)
    assert "no two samples in the window, or was reset" in latency.reason


def test_a_tenant_without_series_is_unknown() -> None:
    latencies = server_latency_between(PLAN, {}, 0.0, 10.0)
    assert [latency.tenant for latency in latencies] == ["A", "B", "C", "D", "E"]
    assert all(latency.requests is None for latency in latencies)
