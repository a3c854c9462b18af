"""How busy the load generator's machine was."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.criteria.criterion import Diagnosis
from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.criteria.wording import share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.series import Source
from soak_pipeline.model.stage_outputs import PhaseEvidence

IDLE_SHARE_LEAST = 0.05
"""A host with less idle CPU, of all its cores, has none to spare (share)."""


def host_samples(evidence: RunEvidence, series: str) -> NDArray[np.float64]:
    """What a series of the load generator's host was during the soak; empty where it was not recorded."""
    stretch = soak_stretch_s(evidence)
    parts = [
        samples.between(*stretch).values
        for key, samples in evidence.telemetry.items()
        if stretch is not None and key.source == Source.HOST and key.series == series
    ]
    values: NDArray[np.float64] = np.concatenate([np.empty(0), *parts])
    return values[np.isfinite(values)]


def host_mean(evidence: RunEvidence, series: str) -> float | None:
    """Mean of a series of the load generator's host over the soak; None where it was not recorded."""
    values = host_samples(evidence, series)
    return float(values.mean()) if len(values) else None


def idle_share_during(evidence: RunEvidence, stages: Iterable[PhaseEvidence | None]) -> float | None:
    """Mean share of idle CPU of the load generator's host during the load sessions of some stages (0..1).

    None where nothing was recorded.
    """
    spans = {
        (session.zero_us / 1e6, session.ended_us / 1e6)
        for stage in stages
        if stage is not None
        for session in stage.sessions
        if session.zero_us is not None and session.ended_us is not None
    }
    parts = [
        samples.between(*span).values
        for key, samples in evidence.telemetry.items()
        if key.source == Source.HOST and key.series == "cpu_idle_share"
        for span in sorted(spans)
    ]
    values: NDArray[np.float64] = np.concatenate([np.empty(0), *parts])
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def busy_host(evidence: RunEvidence, stages: Iterable[PhaseEvidence | None]) -> Diagnosis | None:
    """A host without idle CPU: everything on it waits, and more load workers would make it worse."""
    idle = idle_share_during(evidence, stages)
    if idle is None or idle >= IDLE_SHARE_LEAST:
        return None
    return Diagnosis(
        "host_busy",
        f"The load generator's host had {share(idle)} of its CPU idle during the load, so everything on it waited.",
        "Stop what else runs there, or put platform and load generator on different hosts; run again. More load "
        "workers would not help.",
    )


def beside_a_busy_host(evidence: RunEvidence, diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis, and the word that the machine may be at fault where it had no CPU left."""
    idle, load = host_mean(evidence, "cpu_idle_share"), host_mean(evidence, "load_average")
    if idle is None or idle >= IDLE_SHARE_LEAST:
        return diagnosis
    waiting = "" if load is None else f", load average {load:.1f}"
    return diagnosis._replace(
        likely_cause=f"{diagnosis.likely_cause} But the machine that sent the load had {share(idle)} of its CPU idle "
        f"in the soak{waiting}; if the platform runs there too, it had to wait as well.",
        fix=f"See first what else ran on that machine, and run again without it. {diagnosis.fix}",
    )
