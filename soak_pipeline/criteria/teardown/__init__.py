"""Whether the run ends in silence."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = ("teardown_is_silent",)
