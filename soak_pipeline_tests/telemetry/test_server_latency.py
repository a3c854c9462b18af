"""The gateway's own histogram: from the run's samples, and from a Prometheus."""

from __future__ import annotations

import json
import math
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np
import pytest

from soak_pipeline.evidence.telemetry import Series, SeriesKey, Telemetry
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import HistogramSource, ServerLatency
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.telemetry.server_latency import server_latency_from_prometheus, server_latency_from_telemetry
from soak_pipeline_tests.policies import default_thresholds
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.web import serving

PLAN = examples.plan()
EPOCH_S = PLAN.epoch_unix_us / 1e6
ID_OF = {tenant.name: tenant.tenant_id for tenant in PLAN.tenants}


def with_limit(limit_ms: float) -> Plan:
    return msgspec.structs.replace(PLAN, thresholds=default_thresholds(gateway_latency_ms_p95_max=limit_ms))


def _telemetry(requests: list[float], within: list[float]) -> Telemetry:
    times = np.arange(len(requests)) * 5.0
    return {
        SeriesKey("platform", "tenant A", "server_requests_total"): Series(times, np.array(requests)),
        SeriesKey("platform", "tenant A", "server_requests_within_slo_total"): Series(times, np.array(within)),
    }


def _of_a(telemetry: Telemetry, start_s: float, end_s: float) -> ServerLatency:
    return server_latency_from_telemetry(PLAN, telemetry, start_s, end_s)[0]


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
    latencies = server_latency_from_telemetry(PLAN, {}, 0.0, 10.0)
    assert [latency.tenant for latency in latencies] == ["A", "B", "C", "D", "E"]
    assert all(latency.requests is None for latency in latencies)


def test_a_limit_that_is_no_bucket_boundary_has_no_share() -> None:
    telemetry = _telemetry([100, 200, 350], [0, 0, 0])
    del telemetry[SeriesKey("platform", "tenant A", "server_requests_within_slo_total")]

    latency = server_latency_from_telemetry(with_limit(180.0), telemetry, 0.0, 10.0)[0]

    assert (latency.requests, latency.within_slo, latency.slo_s) == (250, None, 0.18)
    assert latency.reason == "180 ms is no bucket boundary of the gateway's histogram"


class FakePrometheus:
    """Answers range queries from counters: per suffix and (tenant, instance) the readings, evenly over the range.

    Args:
        counters: the readings.
        sampled_s: by tenant, how long before each point its sample was taken; 0 at both edges by default.
    """

    def __init__(
        self,
        counters: dict[str, dict[tuple[str, str], list[float]]],
        sampled_s: dict[str, dict[float, float]] | None = None,
    ) -> None:
        self.counters = counters
        self.sampled_s = sampled_s
        self.queries: list[dict[str, str]] = []

    def __call__(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        self.queries.append(query)
        suffix = "bucket" if "_bucket{" in query["query"] else "count"
        start, step = float(query["start"]), float(query["step"].removesuffix("s"))
        if "timestamp(" in query["query"]:
            last = start + (float(query["end"]) - start) // step * step
            fresh = {start: 0.0, last: 0.0}
            sampled = {
                tenant: fresh
                if self.sampled_s is None
                else {start + at: age for at, age in self.sampled_s[tenant].items()}
                for tenant, _ in self.counters["count"]
            }
            return self._answer(
                [
                    {
                        "metric": {"tenant_id": ID_OF[tenant]},
                        "values": [[at, f"{at - age}"] for at, age in points.items()],
                    }
                    for tenant, points in sampled.items()
                ]
            )
        result = [
            {
                "metric": {"tenant_id": ID_OF[tenant], "instance": instance, "job": "gateway"},
                "values": [[start + step * number, f"{value}"] for number, value in enumerate(values)],
            }
            for (tenant, instance), values in self.counters.get(suffix, {}).items()
        ]
        return self._answer(result)

    @staticmethod
    def _answer(result: list[dict[str, object]]) -> tuple[int, bytes]:
        return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


def test_a_prometheus_is_asked_for_the_window_and_its_processes_are_added_up() -> None:
    prometheus = FakePrometheus(
        {
            "count": {("A", "one"): [100, 160, 220], ("A", "two"): [0, 10, 30], ("B", "one"): [5, 5, 5]},
            "bucket": {("A", "one"): [90, 145, 200], ("A", "two"): [0, 10, 29], ("B", "one"): [5, 5, 5]},
        }
    )
    with serving(prometheus) as url:
        latencies = server_latency_from_prometheus(PLAN, url + "/", 10.4, 610.9)

    # 120 + 30 requests, 110 + 29 of them within.
    assert latencies[0] == ServerLatency(
        tenant="A", requests=150, within_slo=139, source=HistogramSource.PROMETHEUS, unseen_s=0.0
    )
    assert (latencies[1].requests, latencies[1].within_slo) == (0, 0)
    assert latencies[2].requests is None
    count, bucket, sampled = prometheus.queries
    assert (float(count["start"]), float(count["end"])) == (EPOCH_S + 11, EPOCH_S + 610)
    assert count["step"] == f"{math.ceil(PLAN.profile.telemetry_interval_s)}s"
    assert all(tenant_id in query["query"] for query in (count, sampled) for tenant_id in ID_OF.values())
    assert 'le=~"0.25"' in bucket["query"]


def test_a_day_is_asked_for_in_pieces() -> None:
    prometheus = FakePrometheus({"count": {("A", "one"): [1, 2]}, "bucket": {("A", "one"): [1, 2]}})
    with serving(prometheus) as url:
        server_latency_from_prometheus(PLAN, url, 0.0, 86_400.0)

    pieces = [query for query in prometheus.queries if query["query"].startswith("sum") and "_count{" in query["query"]]
    points = [(float(query["end"]) - float(query["start"])) / float(query["step"][:-1]) + 1 for query in pieces]
    assert len(pieces) == 2
    assert max(points) <= 11_000
    assert sum(points) == 86_400 / PLAN.profile.telemetry_interval_s + 1


@pytest.mark.parametrize(
    ("counters", "words"),
    [
        ({"count": {("A", "one"): [100, 50]}, "bucket": {("A", "one"): [90, 40]}}, "was reset within it"),
        ({"count": {("A", "one"): [100, 150]}}, "250 ms is no bucket boundary"),
        ({"count": {("A", "one"): [100]}, "bucket": {("A", "one"): [90]}}, "no two samples"),
    ],
    ids=["reset", "no boundary", "one sample"],
)
def test_what_a_prometheus_cannot_say_is_unknown(
    counters: dict[str, dict[tuple[str, str], list[float]]], words: str
) -> None:
    with serving(FakePrometheus(counters)) as url:
        latency = server_latency_from_prometheus(PLAN, url, 0.0, 60.0)[0]

    assert latency.within_slo is None
    assert words in latency.reason


def test_a_prometheus_that_does_not_know_the_tenants_is_unreadable() -> None:
    with serving(FakePrometheus({})) as url, pytest.raises(Unreadable, match="has no acp_gateway_request_latency"):
        server_latency_from_prometheus(PLAN, url, 0.0, 60.0)


@pytest.mark.parametrize(
    ("sampled_s", "unseen_s"),
    [
        ({0.0: 0.0, 60.0: 0.0}, 0.0),
        ({0.0: 4.0, 60.0: 3.0}, 4.0),
        ({0.0: 1.0, 30.0: 2.0, 60.0: 32.0}, 32.0),
        ({0.0: 1.0, 25.0: 5.0}, 40.0),
        ({35.0: 2.0, 60.0: 2.0}, 33.0),
    ],
    ids=["fresh", "late scrapes", "the last sample repeated", "none at the end", "none at the start"],
)
def test_what_a_prometheus_has_not_seen_at_the_edges_is_told(sampled_s: dict[float, float], unseen_s: float) -> None:
    readings: dict[tuple[str, str], list[float]] = {("A", "one"): [100, 160]}
    with serving(FakePrometheus({"count": readings, "bucket": readings}, {"A": sampled_s})) as url:
        # The last of the steps of 5 s up to 62 s is at 60 s.
        latency = server_latency_from_prometheus(PLAN, url, 0.0, 62.0)[0]

    assert (latency.requests, latency.unseen_s) == (60, unseen_s)
