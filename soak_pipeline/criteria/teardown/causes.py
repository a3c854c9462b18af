"""Likely causes of a tenant that is still served, or of load that goes on."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.criterion import Diagnosis
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding

LOAD = "load"
"""What the finding on our own load is about (`Finding.about`)."""


def teardown(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """A tenant that is still served, or load that goes on."""
    lever = "the stop lever" if evidence.teardown is None else evidence.teardown.lever
    if any(finding.about == LOAD for finding in findings):
        return Diagnosis(
            "load_after_block",
            "The load generator went on after the tenants were blocked.",
            "Check for load processes that are left over, and the log of the load supervisor.",
        )
    return Diagnosis(
        "stop_lever_ignored",
        f"The platform does not honour {lever}: it is ignored, cached, or falls back to a default limit.",
        "Check how long the gateway caches tenant limits, and whether 0 is taken as unlimited; use the kill switch as "
        "the target's stop_lever until then.",
    )
