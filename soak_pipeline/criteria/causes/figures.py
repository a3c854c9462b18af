"""What every rule of diagnosis needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from soak_pipeline.model.verdict import Finding


class Diagnosis(NamedTuple):
    """What is probably the matter.

    Attributes:
        cause: its name, such as `chain_forked`; the same whatever the figures in the sentences.
        likely_cause: one sentence, with figures.
        fix: what to do.
    """

    cause: str
    likely_cause: str
    fix: str


def total(findings: Sequence[Finding], figure: str) -> int:
    """Sum of one figure over some findings; absent ones count as 0."""
    return sum(int(value) for finding in findings if isinstance(value := finding.figures.get(figure), int | float))
