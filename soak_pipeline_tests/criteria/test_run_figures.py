"""Figures of a run: processes, machine, requests and disk, by hand from series that were set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soak_pipeline.criteria.run_figures import ProcessUse, RunFigures, run_figures
from soak_pipeline_tests.criteria.judging import evidence_of
from soak_pipeline_tests.evidence_factory import SyntheticRun

GATEWAY, OTHER = ("platform", "gateway-1"), "gateway-2"


def processes_of(figures: RunFigures) -> dict[str, ProcessUse]:
    return {process.owner: process for process in figures.processes}


def test_a_process_is_told_with_its_memory_at_the_ends_and_its_most(tmp_path: Path) -> None:
    def grow(run: SyntheticRun) -> None:
        times, _ = run.telemetry[*GATEWAY, "rss_bytes"]
        start_s, end_s = run.soak_stretch_s()
        inside = (times >= start_s) & (times <= end_s)
        values = np.full(len(times), 900e6)
        values[inside] = 100e6 + np.arange(inside.sum())
        values[np.flatnonzero(inside)[3]] = 500e6
        run.telemetry[*GATEWAY, "rss_bytes"] = (times, values)
        run.telemetry[*GATEWAY, "count_of_soak"] = (times, inside.astype(float))

    evidence = evidence_of(tmp_path, grow)
    samples = int(np.nansum(next(s for k, s in evidence.telemetry.items() if k.series == "count_of_soak").values))
    use = processes_of(run_figures(evidence))["gateway-1"]
    assert (use.start_bytes, use.end_bytes, use.max_bytes) == (100e6, 100e6 + samples - 1, 500e6)


def test_cpu_comes_from_the_seconds_that_a_process_counts_without_its_restarts(tmp_path: Path) -> None:
    def count(run: SyntheticRun) -> None:
        times, _ = run.telemetry[*GATEWAY, "rss_bytes"]
        seconds = 7.0 + 0.25 * times
        middle = np.searchsorted(times, sum(run.soak_stretch_s()) / 2)
        seconds[middle:] -= seconds[middle]
        run.telemetry[*GATEWAY, "cpu_seconds_total"] = (times, seconds)

    use = processes_of(run_figures(evidence_of(tmp_path, count)))
    assert use["gateway-1"].cpu_share == pytest.approx(0.25)
    assert use[OTHER].cpu_share is None


def test_cpu_of_the_generator_is_the_mean_of_its_shares(tmp_path: Path) -> None:
    def set_shares(run: SyntheticRun) -> None:
        times, _ = run.telemetry["generator", "worker-0", "cpu_share"]
        run.telemetry["generator", "worker-0", "cpu_share"] = (times, np.full(len(times), 0.4))

    assert processes_of(run_figures(evidence_of(tmp_path, set_shares)))["worker-0"].cpu_share == pytest.approx(0.4)


def test_idle_of_the_machine_is_told_with_its_least_and_unknown_without_samples(tmp_path: Path) -> None:
    means: list[float] = []

    def set_idle(run: SyntheticRun) -> None:
        times, _ = run.telemetry["host", "host", "cpu_idle_share"]
        values = np.full(len(times), 0.9)
        start_s, end_s = run.soak_stretch_s()
        inside = np.flatnonzero((times >= start_s) & (times <= end_s))
        values[inside] = 0.6
        values[inside[: len(inside) // 2]] = 0.2
        run.telemetry["host", "host", "cpu_idle_share"] = (times, values)
        means.append(values[inside].mean())

    figures = run_figures(evidence_of(tmp_path / "told", set_idle))
    assert figures.cpu_idle_share == pytest.approx(means[0])
    assert figures.cpu_idle_share_min == 0.2

    def drop(run: SyntheticRun) -> None:
        del run.telemetry["host", "host", "cpu_idle_share"]

    assert run_figures(evidence_of(tmp_path / "not", drop)).cpu_idle_share is None


def test_requests_and_disk_are_counted_from_the_folder(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    figures = run_figures(evidence)
    sizes = {path: path.stat().st_size for path in evidence.folder.path.rglob("*") if path.is_file()}
    records = sum(size for path, size in sizes.items() if evidence.folder.requests_dir in path.parents)
    assert figures.requests == len(evidence.requests)
    assert figures.disk_bytes == sum(sizes.values())
    assert figures.disk_bytes_per_request == pytest.approx(records / len(evidence.requests))
