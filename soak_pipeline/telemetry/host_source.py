"""The machine that the sampler runs on, and the sampler itself, as telemetry."""

from __future__ import annotations

import os
import time

import psutil

from soak_pipeline.model.series import Source
from soak_pipeline.telemetry.source import Reading


class HostSource:
    """CPU shares since the last read, and load."""

    name = "host"

    def __init__(self) -> None:
        psutil.cpu_times_percent(interval=None)

    def read(self) -> list[Reading]:
        """Shares of the CPU time of all cores, and the load average of the last minute."""
        times = psutil.cpu_times_percent(interval=None)
        values = {
            "cpu_idle_share": times.idle / 100,
            "cpu_steal_share": getattr(times, "steal", 0.0) / 100,
            "load_average": os.getloadavg()[0],
            "memory_available_bytes": float(psutil.virtual_memory().available),
        }
        return [Reading(Source.HOST, "host", series, value) for series, value in values.items()]

    def close(self) -> None:
        """Nothing to let go."""


class OwnCost:
    """What the process that samples costs, so that the sampler can be seen not to be the leak."""

    name = "sampler"

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._at = time.monotonic()
        self._cpu_s = _cpu_s(self._process)

    def read(self) -> list[Reading]:
        """CPU share of one core since the last read, resident memory, descriptors."""
        now, cpu_s = time.monotonic(), _cpu_s(self._process)
        elapsed_s = max(now - self._at, 1e-6)
        values = {
            "cpu_share": (cpu_s - self._cpu_s) / elapsed_s,
            "rss_bytes": float(self._process.memory_info().rss),
            "open_fds": float(self._process.num_fds()),
        }
        self._at, self._cpu_s = now, cpu_s
        return [Reading(Source.HOST, "sampler", series, value) for series, value in values.items()]

    def close(self) -> None:
        """Nothing to let go."""


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
