"""Where the gateway's histogram is read: the target's Prometheus, else the run's own samples."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.evidence.telemetry import Series, SeriesKey, Telemetry
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import HistogramSource, ServerLatency
from soak_pipeline.stages.server_latency import server_latencies
from soak_pipeline_tests.criteria.judging import SMALL
from soak_pipeline_tests.evidence_factory import make_run, synthetic_run
from soak_pipeline_tests.target.web import serving
from soak_pipeline_tests.telemetry.test_server_latency import FakePrometheus


def folder_and_plan(tmp_path: Path, prometheus_url: str | None) -> tuple[RunFolder, Plan]:
    folder = make_run(tmp_path, profile=SMALL)
    plan = folder.read_plan()
    return folder, msgspec.structs.replace(
        plan, target=msgspec.structs.replace(plan.target, prometheus_url=prometheus_url)
    )


def samples() -> Telemetry:
    """Tenant A: 10 requests per second within the judged soak, and a rush before it that must not count."""
    start_s, end_s = synthetic_run(profile=SMALL).soak_stretch_s()
    times = np.array([start_s - 5.0, start_s, end_s])
    values = np.array([0.0, 9_000.0, 9_450.0])
    return {
        SeriesKey("platform", "tenant A", series): Series(times, values)
        for series in ("server_requests_total", "server_requests_within_slo_total")
    }


def test_without_a_prometheus_the_samples_at_the_edges_of_the_judged_soak_are_read(tmp_path: Path) -> None:
    folder, plan = folder_and_plan(tmp_path, None)

    latencies = server_latencies(folder, plan, samples())

    assert latencies[0] == ServerLatency(tenant="A", requests=450, within_slo=450)


def test_a_prometheus_that_the_target_names_is_read_instead(tmp_path: Path) -> None:
    prometheus = FakePrometheus({"count": {("A", "one"): [0, 70]}, "bucket": {("A", "one"): [0, 69]}})
    with serving(prometheus) as url:
        folder, plan = folder_and_plan(tmp_path, url)
        latencies = server_latencies(folder, plan, samples())

    start_s, end_s = synthetic_run(profile=SMALL).soak_stretch_s()
    epoch_s = plan.epoch_unix_us / 1e6
    assert {(float(query["start"]), float(query["end"])) for query in prometheus.queries} == {
        (epoch_s + start_s, epoch_s + end_s)
    }
    assert latencies[0] == ServerLatency(
        tenant="A", requests=70, within_slo=69, source=HistogramSource.PROMETHEUS, unseen_s=0.0
    )


def test_where_the_prometheus_does_not_answer_the_samples_stand_in_and_the_reason_says_so(tmp_path: Path) -> None:
    with serving(lambda path, headers: (404, b"")) as url:
        folder, plan = folder_and_plan(tmp_path, url)
        latencies = server_latencies(folder, plan, samples())

    assert (latencies[0].requests, latencies[0].source) == (450, HistogramSource.METRICS_PAGES)
    assert latencies[0].reason == "Prometheus: PrometheusApiClientException; the metrics pages were read instead"
    assert "; the histogram of tenant B has no two samples" in latencies[1].reason


def test_a_soak_that_did_not_begin_has_no_histogram(tmp_path: Path) -> None:
    folder = make_run(tmp_path, profile=SMALL, defects=["without_soak"])

    latencies = server_latencies(folder, folder.read_plan(), {})

    assert {latency.reason for latency in latencies} == {"the soak did not begin"}
