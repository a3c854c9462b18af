"""Tenants of a soak: exact splits by share, and their ids."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

SIZING_TENANT = "_sizing"
"""As which the machine is measured before a run that is fitted to it; a tenant of the plan cannot have this name."""


def split_by_share(total: int, shares: Mapping[str, float], *, least: int = 0) -> dict[str, int]:
    """Splits a whole number by shares exactly: the parts sum to `total` (largest remainder, ties to the first).

    Args:
        total: what to split, at least `least` for each name.
        shares: share per name, 0..1, summing to 1.
        least: smallest part; a share that comes to less is raised to it, at the cost of the largest parts.

    Returns:
        A part per name, in the order of `shares`.

    Raises:
        ValueError: `total` is too small for `least` each.
    """
    if total < least * len(shares):
        raise ValueError(f"{total} cannot be split over {len(shares)} names with at least {least} each")
    exact = {name: total * share for name, share in shares.items()}
    parts = {name: max(least, int(value + 1e-9)) for name, value in exact.items()}
    while (missing := total - sum(parts.values())) > 0:
        by_remainder = sorted(shares, key=lambda name: parts[name] - exact[name])
        for name in by_remainder[:missing]:
            parts[name] += 1
    while sum(parts.values()) > total:
        above = [name for name in shares if parts[name] > least]
        parts[max(above, key=lambda name: parts[name] - exact[name])] -= 1
    return parts


def tenant_id_of(run_id: str, tenant: str) -> str:
    """The UUID of a soak tenant, derived from the run, so that provisioning again finds the same tenant."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"soak:{run_id}:tenant:{tenant}"))
