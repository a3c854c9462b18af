"""The clock of a run's records: microseconds since the plan's epoch, immune to steps of the wall clock."""

from __future__ import annotations

import time


class RunClock:
    """Reads the wall clock once, and goes on by the monotonic clock.

    Args:
        epoch_unix_us: `Plan.epoch_unix_us`.
    """

    def __init__(self, epoch_unix_us: int) -> None:
        self._offset_us = time.time_ns() // 1_000 - epoch_unix_us - time.monotonic_ns() // 1_000

    def now_us(self) -> int:
        """Microseconds since the plan's epoch."""
        return self._offset_us + time.monotonic_ns() // 1_000
