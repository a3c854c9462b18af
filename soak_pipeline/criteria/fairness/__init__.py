"""Whether one tenant's burst reaches the others."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = ("quiet_tenants_are_protected",)
