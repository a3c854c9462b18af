"""Ends load that was left behind by a stage that is gone.

Owns the withdrawal of leases from outside. Signals no process: whoever sends under a lease ends by itself within a
second of its withdrawal.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from soak_pipeline.load.lease import LeaseFile
from soak_pipeline.load.spec import ControlFiles


def stop_leftover_load(run_dir: Path) -> None:
    """Withdraws every lease of a run; one that cannot be written expires on its own."""
    for path in ControlFiles.leases(run_dir):
        with contextlib.suppress(OSError):
            LeaseFile(path).release()
