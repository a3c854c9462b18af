"""Whether anything grows until it runs out."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = ("nothing_leaks",)
