"""The lease under which load may be sent: a file that the holder renews and every load process checks.

Owns the file's format and the rule of expiry. Never ends a process itself.

The clock is the time since boot: the same for every process of the host, moved by no clock step, and it goes on while
the machine sleeps. The file is written in place, because that also works when the disk is full, and its length never
changes. Who cannot read it counts it as not renewed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from soak_pipeline.load.control import ControlFiles

TTL_S = 5.0
"""A lease that was not renewed for this long has expired."""

RENEW_EVERY_S = 1.0
CHECK_EVERY_S = 0.5

EXIT_LEASE_LOST = 3
"""Exit code of a load process whose lease ended."""

_WIDTH = 20
_RELEASED = 0


def boot_time_s() -> float:
    """Seconds since boot, suspended time included; monotonic where the platform has no such clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class LeaseFile:
    """One lease.

    Args:
        path: its file.
        clock: seconds since boot.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = boot_time_s) -> None:
        self.path = path
        self._clock = clock

    def renew(self) -> None:
        """Extends the lease by `TTL_S` from now.

        Raises:
            OSError: the file cannot be written.
        """
        self._write(int(self._clock() * 1e6))

    def release(self) -> None:
        """Ends the lease at once.

        Raises:
            OSError: the file cannot be written; the lease then expires.
        """
        self._write(_RELEASED)

    def seconds_left(self) -> float:
        """How long it is still valid without another renewal; 0 or less when it is not."""
        try:
            text = self.path.read_bytes()
        except OSError:
            return 0.0
        if len(text) != _WIDTH or not text.isdigit() or int(text) == _RELEASED:
            return 0.0
        age_s = self._clock() - int(text) / 1e6
        # A renewal from the future is of another boot.
        return TTL_S - age_s if age_s >= 0.0 else 0.0

    def _write(self, renewed_us: int) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.pwrite(descriptor, f"{renewed_us:0{_WIDTH}d}".encode(), 0)
        finally:
            os.close(descriptor)


class LeaseHolder:
    """Renews a lease from a thread while it is still wanted; a context manager that releases it at the end.

    Args:
        lease: what to renew.
        still_wanted: asked about once a second; false releases the lease for good. One that raises, or takes long,
            leaves the lease unrenewed until it answers.
    """

    def __init__(self, lease: LeaseFile, still_wanted: Callable[[], bool]) -> None:
        self._lease = lease
        self._still_wanted = still_wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="load-lease", daemon=True)
        self.withdrawn = False
        """True once `still_wanted` said no."""

    def __enter__(self) -> LeaseHolder:
        self._lease.renew()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Ends the lease; nothing renews it afterwards."""
        self._stop.set()
        # The thread may hang in `still_wanted`; it looks at `_stop` before it renews again.
        self._thread.join(timeout=0.2)
        try:
            self._lease.release()
        except OSError:
            return

    def _keep(self) -> None:
        while not self._stop.wait(RENEW_EVERY_S):
            try:
                wanted = self._still_wanted()
                if self._stop.is_set():
                    return
                if not wanted:
                    self.withdrawn = True
                    self._lease.release()
                    return
                self._lease.renew()
            except Exception:
                # Whatever went wrong, the lease was not renewed; it expires unless the next try succeeds.
                continue


def stop_leftover_load(run_dir: Path) -> None:
    """Ends the load that a stage left behind when it died, by withdrawing every lease of a run.

    Whoever sends under a lease ends by itself within a second; a lease that cannot be written expires on its own.
    """
    for path in ControlFiles.leases(run_dir):
        with contextlib.suppress(OSError):
            LeaseFile(path).release()
