"""A run's progress for the Dagster UI: one line, at most once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from soak_pipeline.model.progress import Progress

INTERVAL_S = 60.0
PROGRESS_MARK = "progress: "
"""Begins a line of progress; a terminal passes it over, because it shows the progress itself."""


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
            self._log(f"{PROGRESS_MARK}{progress.line()}")
