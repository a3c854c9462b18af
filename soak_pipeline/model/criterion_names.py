"""The names of the criteria, in their order, for those who must not load what judges them.

The gate starts in a fraction of a second and still has to know whether a verdict says something about every criterion.
A test holds the registry of `criteria` against this list.
"""

from __future__ import annotations

LOAD_WAS_VALID = "load_was_valid"

CRITERION_NAMES: tuple[str, ...] = (
    "chain_has_no_violations",
    "usage_matches_audit",
    "no_timeline_is_stuck",
    "roots_are_sealed",
    "gateway_p95_is_under_slo",
    "quiet_tenants_are_protected",
    "nothing_leaks",
    "decisions_are_correct",
    "fanout_is_correct",
    "teardown_is_silent",
    LOAD_WAS_VALID,
)
