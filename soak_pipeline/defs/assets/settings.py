"""What the assets of a soak run have in common."""

from __future__ import annotations

OWNERS = ["team:soak"]

SOAK_TARGET_POOL = "soak_target"
"""Concurrency pool of everything that sends load; `dagster.yaml` gives it to one run at a time."""

LOAD = {"sends_load": "yes"}
"""Tag of the assets that send load."""
