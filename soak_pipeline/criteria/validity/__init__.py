"""Whether the load and its measurement are worth anything; each condition is one finding, PASS or INCONCLUSIVE."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = ("load_was_valid",)
