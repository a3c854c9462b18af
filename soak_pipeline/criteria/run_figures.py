"""Figures of a run that are not judged but asked for: machine, memory, disk, and how long the verdict took.

Pure over the evidence; `soak figures` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soak_pipeline.criteria.host import host_mean, host_samples
from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.telemetry import Series, SeriesKey
from soak_pipeline.model.plan import SOAK_SESSION
from soak_pipeline.model.traffic import Phase


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process of the platform or the generator used over the judged part of the soak.

    Attributes:
        owner: such as `gateway-0` or `load-0`.
        cpu_share: of one core, mean; None where it is not told.
        start_bytes, end_bytes, max_bytes: resident memory.
    """

    owner: str
    cpu_share: float | None
    start_bytes: float
    end_bytes: float
    max_bytes: float


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What a run used.

    Attributes:
        requests: records of the whole run.
        soak_requests_per_second: sent in the judged part of the soak; None without one.
        cpu_idle_share: of the whole machine, mean over the judged part of the soak.
        cpu_idle_share_min: its least sample.
        processes: those of the platform and the generator whose memory is told.
        disk_bytes: of the run folder.
        disk_bytes_per_request: of the request records only.
    """

    requests: int
    soak_requests_per_second: float | None
    cpu_idle_share: float | None
    cpu_idle_share_min: float | None
    processes: tuple[ProcessUse, ...]
    disk_bytes: int
    disk_bytes_per_request: float | None


def run_figures(evidence: RunEvidence) -> RunFigures:
    """The figures of a run; those of a soak that did not begin are None or empty."""
    stretch = soak_stretch_s(evidence)
    idle = host_samples(evidence, "cpu_idle_share")
    requests = len(evidence.requests)
    soak_requests = int(np.count_nonzero(evidence.requests.where(phase=Phase.SOAK, session=SOAK_SESSION)))
    record_bytes = _size(evidence.folder.requests_dir)
    return RunFigures(
        requests=requests,
        soak_requests_per_second=None if stretch is None else soak_requests / (stretch[1] - stretch[0]),
        cpu_idle_share=host_mean(evidence, "cpu_idle_share"),
        cpu_idle_share_min=float(idle.min()) if len(idle) else None,
        processes=() if stretch is None else _processes(evidence, stretch),
        disk_bytes=_size(evidence.folder.path),
        disk_bytes_per_request=record_bytes / requests if requests else None,
    )


def _during(evidence: RunEvidence, key: SeriesKey, stretch: tuple[float, float]) -> Series | None:
    series = evidence.telemetry.get(key)
    if series is None:
        return None
    inside = series.between(*stretch)
    known = np.isfinite(inside.values)
    return Series(inside.times_s[known], inside.values[known]) if known.any() else None


def _processes(evidence: RunEvidence, stretch: tuple[float, float]) -> tuple[ProcessUse, ...]:
    found = []
    for key in sorted(evidence.telemetry):
        if key.series != "rss_bytes":
            continue
        memory = _during(evidence, key, stretch)
        if memory is not None:
            values = memory.values
            cpu_share = _cpu_share(evidence, key, stretch)
            found.append(ProcessUse(key.owner, cpu_share, float(values[0]), float(values[-1]), float(np.max(values))))
    return tuple(found)


def _cpu_share(evidence: RunEvidence, process: SeriesKey, stretch: tuple[float, float]) -> float | None:
    """From the seconds that a process has counted, restarts left out, or else from shares that were sampled."""
    seconds = _during(evidence, process._replace(series="cpu_seconds_total"), stretch)
    if seconds is not None and len(seconds.times_s) > 1:
        steps_s, used_s = np.diff(seconds.times_s), np.diff(seconds.values)
        same_process = used_s >= 0
        return float(used_s[same_process].sum() / steps_s[same_process].sum()) if same_process.any() else None
    shares = _during(evidence, process._replace(series="cpu_share"), stretch)
    return None if shares is None else float(np.mean(shares.values))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
