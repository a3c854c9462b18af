"""The live figures of a load session as Prometheus metrics, on a loopback port for as long as the session lasts.

Owns the names of the metrics. Reads what the load processes publish anyway, so that a scrape costs them nothing. Live
figures are for the eye only: nothing here is evidence, and a scraper that fails never disturbs a run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.load.control import LoadSpec

logger = logging.getLogger(__name__)

ProcessFigures = Mapping[str, Mapping[str, float]]
"""Newest telemetry of each load process, by owner and series."""


@contextmanager
def serve_metrics(port: int | None, collector: SessionCollector) -> Iterator[None]:
    """Serves a session's metrics on 127.0.0.1; a port that is taken is a line in the log, not the end of the run."""
    if port is None:
        yield
        return
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        logger.warning("no metrics on 127.0.0.1:%d: %s", port, error.strerror)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class SessionCollector(Collector):
    """Reads the live figures anew at each scrape.

    Args:
        spec: the session.
        processes: newest telemetry of the load processes; the collector only looks.
    """

    def __init__(self, spec: LoadSpec, processes: ProcessFigures) -> None:
        self._spec = spec
        self._processes = processes

    def describe(self) -> list[Metric]:
        """Nothing: without a session under way there is nothing to say, and registering must not collect."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The metrics of this moment; latencies in seconds, from the intended start, over the last ten seconds."""
        plan = self._spec.plan
        yield _gauge(
            "soak_session_info",
            "The load session that is under way; always 1.",
            {
                (
                    ("run_id", plan.run_id),
                    ("profile", plan.profile.name),
                    ("target", plan.target.name),
                    ("release", plan.release),
                    ("session", self._spec.session.name),
                ): 1.0
            },
        )
        progress = read_progress(self._spec.control.progress)
        if progress is not None and progress.session == self._spec.session.name:
            yield _gauge("soak_phase_info", "Phase of the window under way.", {(("phase", progress.phase),): 1.0})
            yield _gauge("soak_users", "Virtual users that are logged in.", {(): float(progress.users)})
            yield _gauge("soak_session_remaining_seconds", "Until the session's end.", {(): progress.seconds_left})
            yield _gauge(
                "soak_latency_p95_seconds",
                "p95 of the gateway as the user sees it, over the last seconds.",
                {(("tenant", tenant),): value / 1e3 for tenant, value in progress.latency_ms_p95.items()},
            )
            requests = CounterMetricFamily("soak_requests", "Requests of the session by outcome.", labels=["outcome"])
            for outcome, count in progress.outcomes.items():
                requests.add_metric([outcome], float(count))
            yield requests
        # A copy, since the supervisor goes on adding to it.
        processes = dict(self._processes)
        for series, (name, help_text, factor) in _PROCESS_METRICS.items():
            yield _gauge(
                name,
                help_text,
                {
                    (("process", owner),): figures[series] * factor
                    for owner, figures in sorted(processes.items())
                    if series in figures
                },
            )


_PROCESS_METRICS = {
    "rss_bytes": ("soak_load_process_resident_memory_bytes", "Resident memory of a load process.", 1.0),
    "cpu_share": ("soak_load_process_cpu_share", "CPU of a load process, of one core.", 1.0),
    "loop_lag_ms_p99": ("soak_load_process_loop_lag_p99_seconds", "p99 lateness of the event loop.", 1e-3),
}


def _gauge(name: str, help_text: str, values: Mapping[tuple[tuple[str, str], ...], float]) -> GaugeMetricFamily:
    names = [label for label, _ in next(iter(values), ())]
    family = GaugeMetricFamily(name, help_text, labels=names)
    for labels, value in values.items():
        family.add_metric([text for _, text in labels], value)
    return family
