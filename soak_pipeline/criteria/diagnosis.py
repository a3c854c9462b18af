"""Likely cause and fix of a criterion that is not PASS, from the evidence.

Owns which rule is asked: a stage that left nothing, a capability that the target lacks, then the rule of the criterion.
It never changes a verdict, and names a cause as likely, not as certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from soak_pipeline.criteria.causes import correctness, open_answers, platform_data, service
from soak_pipeline.criteria.causes.figures import Diagnosis
from soak_pipeline.criteria.sources import why_missing
from soak_pipeline.criteria.wording import listed
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding, Verdict


def diagnose(name: str, evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Likely cause and fix.

    Args:
        name: of the criterion.
        evidence: of the run.
        findings: worst first; the first decides whether this is a FAIL or something that was not measured.
    """
    missing = [stage for stage in _STAGES_OF.get(name, ()) if getattr(evidence, stage) is None]
    if missing:
        return _stage_missing(evidence, missing[0])
    if findings[0].verdict is Verdict.FAIL:
        rule = _RULES_OF_FAIL.get(name, _unknown)
        return rule(evidence, [finding for finding in findings if finding.verdict is Verdict.FAIL])
    return _not_measured(name, evidence, [finding for finding in findings if finding.verdict is Verdict.INCONCLUSIVE])


_STAGES_OF: Mapping[str, tuple[str, ...]] = {
    "chain_has_no_violations": ("platform_evidence",),
    "usage_matches_audit": ("platform_evidence",),
    "no_timeline_is_stuck": ("platform_evidence",),
    "roots_are_sealed": ("platform_evidence",),
    "gateway_p95_is_under_slo": ("soak",),
    "quiet_tenants_are_protected": ("baseline", "burst"),
    "nothing_leaks": ("soak",),
    "decisions_are_correct": ("soak",),
    "fanout_is_correct": ("agent_fanout", "platform_evidence"),
    "teardown_is_silent": ("teardown",),
    "load_was_valid": ("baseline", "burst", "agent_fanout", "soak"),
}

_RULES_OF_FAIL: Mapping[str, Callable[[RunEvidence, Sequence[Finding]], Diagnosis]] = {
    "chain_has_no_violations": platform_data.chain,
    "usage_matches_audit": platform_data.usage,
    "no_timeline_is_stuck": platform_data.timelines,
    "roots_are_sealed": platform_data.roots,
    "gateway_p95_is_under_slo": service.slow_gateway,
    "quiet_tenants_are_protected": service.unfair,
    "nothing_leaks": service.leaks,
    "decisions_are_correct": service.wrong_decisions,
    "fanout_is_correct": correctness.fan_out,
    "teardown_is_silent": correctness.teardown,
}

_RULES_OF_OPEN: Mapping[str, Callable[[RunEvidence, Sequence[Finding]], Diagnosis | None]] = {
    "chain_has_no_violations": open_answers.rows_late,
    "roots_are_sealed": open_answers.rows_late,
    "gateway_p95_is_under_slo": open_answers.few_samples,
    "quiet_tenants_are_protected": open_answers.no_pressure,
    "nothing_leaks": open_answers.growth_open,
    "load_was_valid": open_answers.invalid_load,
}


def _stage_missing(evidence: RunEvidence, stage: str) -> Diagnosis:
    reason = why_missing(evidence, stage)
    cheap = stage in ("platform_evidence", "teardown")
    how = (
        f"Materialise {stage} of this run again, then post_run_checks and report; that sends no load."
        if cheap
        else "See the run's log for why it ended there, and start a new run."
    )
    return Diagnosis("stage_missing", f"Stage {stage} did not finish: {reason}", how)


def _not_measured(name: str, evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    lacking = [] if evidence.provision is None else [c for c in evidence.provision.capabilities if not c.available]
    named = [entry for entry in lacking if any(entry.name in finding.why for finding in findings)]
    if named:
        return Diagnosis(
            "capability_missing",
            f"The target does not offer {named[0].name}: {named[0].reason}",
            f"Give the target file access to {named[0].name}, and start a new run.",
        )
    rule = _RULES_OF_OPEN.get(name)
    diagnosis = rule(evidence, findings) if rule else None
    if diagnosis is not None:
        return diagnosis
    return Diagnosis(
        "not_measured",
        f"Not everything could be measured: {findings[0].why}.",
        "Remove the reason given in each finding, then run again; where only platform_evidence lacks, materialise it "
        "again.",
    )


def _unknown(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    shows_in = listed(finding.subject for finding in findings)
    return Diagnosis("unknown", f"Unknown; it shows in {shows_in}.", "See the evidence files.")
