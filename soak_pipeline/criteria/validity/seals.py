"""The evidence that is judged is the evidence that the run left."""

from __future__ import annotations

from soak_pipeline.criteria.validity.condition import holds_or_open
from soak_pipeline.criteria.wording import count
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding, at_most

_SHOWN = 3


def evidence_is_whole(evidence: RunEvidence) -> Finding:
    """No evidence file changed, vanished or came after the stage that wrote it had ended."""
    damage = evidence.damage
    more = f" and {count(len(damage) - _SHOWN, 'more')}" if len(damage) > _SHOWN else ""
    return Finding(
        subject="seal of the evidence",
        verdict=holds_or_open(not damage),
        observed=float(len(damage)),
        limit=at_most(0.0, "files"),
        why=f"{'; '.join(damage[:_SHOWN])}{more}" if damage else "the evidence is as the run left it",
    )
