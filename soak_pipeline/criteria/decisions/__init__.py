"""Whether every answer was the right one."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = ("decisions_are_correct",)
