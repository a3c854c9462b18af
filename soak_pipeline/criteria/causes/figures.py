"""What every rule of diagnosis needs."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.model.verdict import Finding

Diagnosis = tuple[str, str]
"""A likely cause, and the fix."""


def total(findings: Sequence[Finding], figure: str) -> int:
    """Sum of one figure over some findings; absent ones count as 0."""
    return sum(int(value) for finding in findings if isinstance(value := finding.figures.get(figure), int | float))
