"""Likely cause and fix of a criterion that is not PASS, from the evidence.

Owns which rule is asked: a stage that left nothing, a capability that the target lacks, then the criterion's own. It
never changes a verdict, and names a cause as likely, not as certain.
"""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.criterion import Criterion, Diagnosis
from soak_pipeline.criteria.sources import why_missing
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding, Verdict


def diagnose(criterion: Criterion, evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Likely cause and fix.

    Args:
        criterion: that is not PASS.
        evidence: of the run.
        findings: worst first; the first decides whether this is a FAIL or something that was not measured.
    """
    missing = [stage for stage in criterion.rests_on if getattr(evidence, stage) is None]
    if missing:
        return _stage_missing(evidence, missing[0])
    if findings[0].verdict is Verdict.FAIL:
        return criterion.cause_of_fail(evidence, [found for found in findings if found.verdict is Verdict.FAIL])
    return _not_measured(criterion, evidence, [found for found in findings if found.verdict is Verdict.INCONCLUSIVE])


def _stage_missing(evidence: RunEvidence, stage: str) -> Diagnosis:
    reason = why_missing(evidence, stage)
    cheap = stage in ("platform_evidence", "teardown")
    how = (
        f"Materialise {stage} of this run again, then post_run_checks and report; that sends no load."
        if cheap
        else "See the run's log for why it ended there, and start a new run."
    )
    return Diagnosis("stage_missing", f"Stage {stage} did not finish: {reason}", how)


def _not_measured(criterion: Criterion, evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    # What a criterion reads and the target lacks leaves it open whatever else is found.
    needed = {name for need in criterion.needs(evidence.plan) for name in need.capabilities}
    found = () if evidence.provision is None else evidence.provision.capabilities
    lacking = next((entry for entry in found if entry.name in needed and not entry.available), None)
    if lacking is not None:
        return Diagnosis(
            "capability_missing",
            f"The target does not offer {lacking.name}: {lacking.reason}",
            f"Give the target file access to {lacking.name}, and start a new run.",
        )
    diagnosis = None if criterion.cause_of_open is None else criterion.cause_of_open(evidence, findings)
    if diagnosis is not None:
        return diagnosis
    return Diagnosis(
        "not_measured",
        f"Not everything could be measured: {findings[0].why}.",
        "Remove the reason given in each finding, then run again; where only platform_evidence lacks, materialise it "
        "again.",
    )
