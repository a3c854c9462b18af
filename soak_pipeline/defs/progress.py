"""A run's progress for the Dagster UI: one line, at most once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from soak_pipeline.model.progress import Progress

INTERVAL_S = 60.0


class ProgressLog:
    """Passes every progress on to a log, but the first at once and the others at most once per `interval_s`."""

    def __init__(
        self,
        log: Callable[[str], None],
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._interval_s = interval_s
        self._clock = clock
        self._next_at = clock()

    def __call__(self, progress: Progress) -> None:
        """Logs the progress when it is due."""
        now = self._clock()
        if now >= self._next_at:
            self._next_at = now + self._interval_s
            self._log(progress_line(progress))


def progress_line(progress: Progress) -> str:
    """One line for a person: phase, users, rate, p95 per tenant, outcomes, time left."""
    parts = [f"session {progress.session}, phase {progress.phase}"]
    if progress.windows:
        parts.append(f"window {progress.window + 1} of {progress.windows}")
    parts += [f"{progress.users:,} users", f"{progress.requests_per_second:,.0f} requests/s"]
    if progress.latency_ms_p95:
        tenants = " ".join(f"{name} {ms:.0f}" for name, ms in sorted(progress.latency_ms_p95.items()))
        parts.append(f"p95 {tenants} ms")
    parts += [f"{count:,} {outcome}" for outcome, count in sorted(progress.outcomes.items())]
    parts.append(f"{progress.seconds_left:.0f} s left")
    return ", ".join(parts)
