"""From findings to the result of a criterion: worst first, and nothing passes by default.

Owns the ordering and the merging. Never looks at evidence itself, except to ask for the diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from soak_pipeline.criteria.diagnosis import diagnose
from soak_pipeline.criteria.sources import why_missing
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, worst

_ORDER = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


def conclude(
    evidence: RunEvidence,
    name: str,
    findings: Sequence[Finding],
    *,
    unit: str,
    passed: str,
    files: Sequence[str],
    gravity: Callable[[Finding], float] = lambda finding: 0.0,
) -> CriterionResult:
    """The result of a criterion from its findings, with the likely cause and the fix when it is not PASS.

    Args:
        evidence: of the run, for the diagnosis.
        name: of the criterion.
        findings: one per subject, in any order; none at all is INCONCLUSIVE.
        unit: of the criterion's main figure; among equally bad findings, those in it come first.
        passed: the sentence when all of them pass.
        files: evidence files, relative to the run folder.
        gravity: among findings of the same verdict, the graver one comes first.
    """
    if not findings:
        return _undecided(evidence, name, "there was nothing to judge", files)
    ordered = sorted(
        findings,
        key=lambda finding: (_ORDER[finding.verdict], -gravity(finding), finding.unit != unit, -closeness(finding)),
    )
    decisive, verdict = ordered[0], worst(finding.verdict for finding in findings)
    diagnosis = diagnose(name, evidence, ordered) if verdict is not Verdict.PASS else None
    return CriterionResult(
        name=name,
        verdict=verdict,
        observed=decisive.observed,
        limit=decisive.limit,
        unit=decisive.unit,
        interval=decisive.interval,
        why=passed if verdict is Verdict.PASS else _sentence(ordered),
        findings=tuple(ordered),
        evidence=tuple(files),
        cause=None if diagnosis is None else diagnosis.cause,
        likely_cause=None if diagnosis is None else diagnosis.likely_cause,
        fix=None if diagnosis is None else diagnosis.fix,
    )


def stage_missing(evidence: RunEvidence, name: str, stage: str, files: Sequence[str] = ()) -> CriterionResult:
    """The result when the stage that the criterion rests on left no readable output."""
    why = f"stage {stage} left no evidence: {why_missing(evidence, stage)}"
    return _undecided(evidence, name, why, files)


def not_asked(name: str, why: str) -> CriterionResult:
    """The result when the plan is too short for the question; it takes no part in the overall verdict."""
    return CriterionResult(name=name, verdict=Verdict.INCONCLUSIVE, asked=False, why=why)


def unmeasured(subject: str, why: str, **figures: float | int | str | None) -> Finding:
    """A finding that says what was not measured."""
    return Finding(subject=subject, verdict=Verdict.INCONCLUSIVE, why=why, figures=figures)


def closeness(finding: Finding) -> float:
    """How near to the limit (or beyond it) a finding is; the nearest is named first."""
    if finding.observed is None:
        return 0.0
    if not finding.limit:
        return abs(finding.observed)
    return finding.observed / finding.limit


def _undecided(evidence: RunEvidence, name: str, why: str, files: Sequence[str]) -> CriterionResult:
    diagnosis = diagnose(name, evidence, [unmeasured("run", why)])
    return CriterionResult(
        name=name, verdict=Verdict.INCONCLUSIVE, why=why, evidence=tuple(files), **diagnosis._asdict()
    )


def _sentence(ordered: Sequence[Finding]) -> str:
    others = [finding.subject for finding in ordered[1:] if finding.verdict is ordered[0].verdict]
    if not others:
        return ordered[0].why
    return f"{ordered[0].why} (and {len(others)} more: {'; '.join(others[:4])}{'; ...' if len(others) > 4 else ''})"
