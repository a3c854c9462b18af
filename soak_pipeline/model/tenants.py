"""The soak tenants: their names, their shares of the traffic, and exact splits by share."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

TENANT_SHARES: Mapping[str, float] = {"A": 0.60, "B": 0.15, "C": 0.10, "D": 0.10, "E": 0.05}
"""Share of the traffic (0..1) of each soak tenant; A is the noisy one, E the quietest."""

NOISY_TENANT = "A"
QUIET_TENANTS = tuple(name for name in TENANT_SHARES if name != NOISY_TENANT)


def split_by_share(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Splits a whole number by shares exactly: the parts sum to `total` (largest remainder, ties to the first).

    Args:
        total: what to split, >= 0.
        shares: share per name, 0..1, summing to 1.

    Returns:
        A part per name, in the order of `shares`.
    """
    exact = {name: total * share for name, share in shares.items()}
    parts = {name: int(value + 1e-9) for name, value in exact.items()}
    by_remainder = sorted(shares, key=lambda name: parts[name] - exact[name])
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def tenant_id_of(run_id: str, tenant: str) -> str:
    """The UUID of a soak tenant, derived from the run, so that provisioning again finds the same tenant."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"soak:{run_id}:tenant:{tenant}"))
