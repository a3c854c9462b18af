"""The run's clock in a load process: microseconds since the plan's epoch, moved by no step of the wall clock.

Owns the one reading of the wall clock. Processes on one host read it within the same second, so a step during a run
moves none of them against another.
"""

from __future__ import annotations

import time


class RunClock:
    """The run's clock of this process.

    Args:
        epoch_unix_us: the plan's epoch, microseconds since 1970.

    Attributes:
        offset_us: what to add to this process's monotonic clock in microseconds.
    """

    def __init__(self, epoch_unix_us: int) -> None:
        self.offset_us = int(time.time() * 1e6) - epoch_unix_us - int(time.monotonic() * 1e6)

    def to_us(self, monotonic_s: float) -> int:
        """Microseconds since the plan's epoch of a moment of the monotonic clock."""
        return int(monotonic_s * 1e6) + self.offset_us

    def to_monotonic_s(self, moment_us: int) -> float:
        """The moment on the monotonic clock."""
        return (moment_us - self.offset_us) / 1e6
