"""Whether many agents of one tenant at once stay correct."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = ("fanout_is_correct",)
