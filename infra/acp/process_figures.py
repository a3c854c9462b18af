"""What a process can say of itself that the standard process metrics leave out: memory of its own, time of its GC."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """This process's resident memory."""
    return _memory_pages()[0] * _PAGE_BYTES


def unique_bytes() -> int:
    """The part of it that no file and no other process shares; far cheaper to read than the exact figure in `smaps`."""
    resident, shared = _memory_pages()
    return (resident - shared) * _PAGE_BYTES


def _memory_pages() -> tuple[int, int]:
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = file.read().split()
    return int(resident), int(shared)


class GcClock:
    """Counts the seconds that the garbage collector takes, from when it is made."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began_s = 0.0
        gc.callbacks.append(self._told)

    def stop(self) -> None:
        """Counts no more."""
        gc.callbacks.remove(self._told)

    def _told(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
        elif self._began_s:
            self.seconds += time.perf_counter() - self._began_s
