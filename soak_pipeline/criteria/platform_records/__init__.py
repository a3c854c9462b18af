"""What the platform wrote down: audit chain, usage, timelines, roots."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = (
    "chain_has_no_violations",
    "usage_matches_audit",
    "no_timeline_is_stuck",
    "roots_are_sealed",
)
