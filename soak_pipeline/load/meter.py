"""How a load process itself is doing: lateness of its loop, CPU, memory. It must never be the bottleneck unseen.

Owns the measuring. Never says what is too much; a criterion does.
"""

from __future__ import annotations

import os
import time
from array import array
from pathlib import Path
from typing import NamedTuple

PROBE_EVERY_S = 0.02
"""Pause of the probe that measures how late the loop is: 50 samples per second."""

_STEP_MS = 0.1
_STEPS = 100_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class LagHistogram:
    """Lateness of an event loop, counted in steps of 0.1 ms up to 10 s; constant in size."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _STEPS))
        self._total = 0

    def add(self, lag_ms: float) -> None:
        """Counts one lateness; what is longer than 10 s counts as 10 s."""
        self._counts[min(_STEPS - 1, max(0, int(lag_ms / _STEP_MS)))] += 1
        self._total += 1

    def p99_ms(self) -> float | None:
        """The 99th percentile, rounded up to 0.1 ms; None before the first sample."""
        if not self._total:
            return None
        # The smallest step that at least 99 % of the samples do not exceed.
        left = self._total - -(-self._total * 99 // 100)
        for step in range(_STEPS - 1, -1, -1):
            left -= self._counts[step]
            if left < 0:
                return (step + 1) * _STEP_MS
        return None


class Reading(NamedTuple):
    """One telemetry interval of a load process.

    Attributes:
        rss_bytes: resident memory.
        cpu_share: CPU time of the interval, of one core.
        loop_lag_ms_p99: lateness of the loop in the interval; None when the probe never ran.
    """

    rss_bytes: int
    cpu_share: float
    loop_lag_ms_p99: float | None


class Meter:
    """Measures the process that it lives in; `probed` is fed by the process's own loop.

    Attributes:
        whole: lateness since the start.
        cpu_share_max: highest of all intervals.
        rss_bytes_start: at the start.
    """

    def __init__(self) -> None:
        self.whole = LagHistogram()
        self.cpu_share_max = 0.0
        self.rss_bytes_start = rss_bytes()
        self._interval = array("d")
        self._since_s = time.monotonic()
        self._cpu_s = time.process_time()

    def probed(self, lag_s: float) -> None:
        """Takes one lateness of the loop (seconds)."""
        self.whole.add(lag_s * 1e3)
        self._interval.append(lag_s * 1e3)

    def read(self) -> Reading:
        """Ends an interval and begins the next."""
        now_s, cpu_s = time.monotonic(), time.process_time()
        elapsed_s = now_s - self._since_s
        share = (cpu_s - self._cpu_s) / elapsed_s if elapsed_s > 0 else 0.0
        lags = sorted(self._interval)
        self._interval = array("d")
        self._since_s, self._cpu_s = now_s, cpu_s
        self.cpu_share_max = max(self.cpu_share_max, share)
        p99_ms = lags[-(-len(lags) * 99 // 100) - 1] if lags else None
        return Reading(rss_bytes=rss_bytes(), cpu_share=share, loop_lag_ms_p99=p99_ms)


def rss_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process (bytes); 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
