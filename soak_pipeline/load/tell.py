"""How a driving process tells its supervisor what happens: a JSON line on its standard output."""

from __future__ import annotations

import sys

import msgspec

from soak_pipeline.load.events import MasterEvent


def tell(event: MasterEvent) -> None:
    """Tells the supervisor; a supervisor that is gone is told nothing."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return
