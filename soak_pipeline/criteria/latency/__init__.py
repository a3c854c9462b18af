"""Whether the platform answers in time."""

from __future__ import annotations

CRITERIA: tuple[str, ...] = ("gateway_p95_is_under_slo", "reads_are_under_slo")
