"""From findings to the result of a criterion: worst first, and nothing passes by default.

Owns the ordering and the merging. Never looks at evidence itself, except to ask for the diagnosis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from soak_pipeline.criteria.criterion import Criterion
from soak_pipeline.criteria.diagnosis import diagnose
from soak_pipeline.criteria.sources import why_missing
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import CriterionResult, Direction, Finding, Limit, Verdict, worst

_ORDER = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


def conclude(
    evidence: RunEvidence,
    criterion: Criterion,
    findings: Sequence[Finding],
    *,
    main: Limit | None = None,
    passed: str,
    files: Sequence[str],
    gravity: Callable[[Finding], float] = lambda finding: 0.0,
) -> CriterionResult:
    """The result of a criterion from its findings, with the likely cause and the fix when it is not PASS.

    Args:
        evidence: of the run, for the diagnosis.
        criterion: whose result this is.
        findings: one per subject, in any order; none at all is INCONCLUSIVE.
        main: limit of the criterion's main figure; None where it has none. Among equally bad findings, those in its
            unit come first. It stands in the headline where the finding that decided has neither figure nor limit.
        passed: the sentence when all of them pass.
        files: evidence files, relative to the run folder.
        gravity: among findings of the same verdict, the graver one comes first.
    """
    if not findings:
        return _undecided(evidence, criterion, "there was nothing to judge", files)
    ordered = sorted(
        findings,
        key=lambda finding: (
            _ORDER[finding.verdict],
            -gravity(finding),
            main is not None and finding.unit != main.unit,
            -closeness(finding),
        ),
    )
    decisive, verdict = ordered[0], worst(finding.verdict for finding in findings)
    if decisive.observed is None and decisive.limit is None:
        decisive = msgspec.structs.replace(decisive, limit=main, unit="" if main is None else main.unit)
    diagnosis = diagnose(criterion, evidence, ordered) if verdict is not Verdict.PASS else None
    return CriterionResult(
        name=criterion.name,
        verdict=verdict,
        observed=_headline(decisive, ordered),
        limit=decisive.limit,
        unit=decisive.unit,
        interval=decisive.interval if decisive.unit == ordered[0].unit else None,
        why=passed if verdict is Verdict.PASS else _sentence(ordered),
        findings=tuple(ordered),
        evidence=tuple(files),
        cause=None if diagnosis is None else diagnosis.cause,
        likely_cause=None if diagnosis is None else diagnosis.likely_cause,
        fix=None if diagnosis is None else diagnosis.fix,
    )


def _headline(decisive: Finding, findings: Sequence[Finding]) -> float | None:
    """The figure of a criterion: that of the finding that decided; of what must be none at all, all there is."""
    limit = decisive.limit
    if decisive.observed is None or limit is None or limit.direction is Direction.AT_LEAST or limit.value != 0:
        return decisive.observed
    return sum(finding.observed for finding in findings if finding.limit == limit and finding.observed is not None)


def stage_missing(
    evidence: RunEvidence, criterion: Criterion, stage: str, files: Sequence[str] = ()
) -> CriterionResult:
    """The result when the stage that the criterion rests on left no readable output."""
    why = f"stage {stage} left no evidence: {why_missing(evidence, stage)}"
    return _undecided(evidence, criterion, why, files)


def not_asked(criterion: Criterion, why: str) -> CriterionResult:
    """The result when the plan is too short for the question; it takes no part in the overall verdict."""
    return CriterionResult(name=criterion.name, verdict=Verdict.INCONCLUSIVE, asked=False, why=why)


def unmeasured(subject: str, why: str, about: str = "", /, **figures: float | int | str | None) -> Finding:
    """A finding that says what was not measured."""
    return Finding(subject=subject, verdict=Verdict.INCONCLUSIVE, why=why, about=about, figures=figures)


def closeness(finding: Finding) -> float:
    """How near to its limit a finding is, or how far beyond it; what has no limit or was not measured comes last."""
    return -math.inf if finding.limit is None else finding.limit.closeness(finding.observed)


def _undecided(evidence: RunEvidence, criterion: Criterion, why: str, files: Sequence[str]) -> CriterionResult:
    diagnosis = diagnose(criterion, evidence, [unmeasured("run", why)])
    return CriterionResult(
        name=criterion.name, verdict=Verdict.INCONCLUSIVE, why=why, evidence=tuple(files), **diagnosis._asdict()
    )


def _sentence(ordered: Sequence[Finding]) -> str:
    others = [finding.subject for finding in ordered[1:] if finding.verdict is ordered[0].verdict]
    if not others:
        return ordered[0].why
    return f"{ordered[0].why} (and {len(others)} more: {'; '.join(others[:4])}{'; ...' if len(others) > 4 else ''})"
