"""What every condition shares: it holds, or the answer stays open; a load that is not valid accuses nobody."""

from __future__ import annotations

from soak_pipeline.model.verdict import Verdict


def holds_or_open(holds: bool) -> Verdict:
    """PASS when the condition holds, else INCONCLUSIVE."""
    return Verdict.PASS if holds else Verdict.INCONCLUSIVE
