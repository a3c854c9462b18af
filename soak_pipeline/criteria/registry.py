"""The ordered list of criteria, and the judgement of a run by all of them.

Owns the order and the safety: a criterion that raises is INCONCLUSIVE with the reason, and the others are judged all
the same. The crash of a checker is never a PASS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from soak_pipeline.criteria import (
    chain_has_no_violations,
    decisions_are_correct,
    fanout_is_correct,
    gateway_p95_is_under_slo,
    load_was_valid,
    no_timeline_is_stuck,
    nothing_leaks,
    quiet_tenants_are_protected,
    roots_are_sealed,
    teardown_is_silent,
    usage_matches_audit,
)
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import CriterionResult, Judgement, Verdict, overall


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion.

    Attributes:
        name: the fact in the present tense.
        question: what it answers, for a person.
        judge: evidence to result; pure.
    """

    name: str
    question: str
    judge: Callable[[RunEvidence], CriterionResult]


CRITERIA: tuple[Criterion, ...] = tuple(
    Criterion(module.NAME, module.QUESTION, module.judge)
    for module in (
        chain_has_no_violations,
        usage_matches_audit,
        no_timeline_is_stuck,
        roots_are_sealed,
        gateway_p95_is_under_slo,
        quiet_tenants_are_protected,
        nothing_leaks,
        decisions_are_correct,
        fanout_is_correct,
        teardown_is_silent,
        load_was_valid,
    )
)


def judge_run(
    evidence: RunEvidence, changed: Mapping[str, float] | None = None, *, judged_at: datetime | None = None
) -> Judgement:
    """Judges a run by every criterion.

    Args:
        evidence: of the run, with the thresholds to judge by.
        changed: the thresholds that differ from the plan's own, for the record.
        judged_at: moment of the judgement; now by default.
    """
    moment = (judged_at or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    advisory = evidence.plan.advisory
    results = tuple(
        msgspec.structs.replace(judged_safely(criterion, evidence), advisory=criterion.name in advisory)
        for criterion in CRITERIA
    )
    return Judgement(
        run_id=evidence.plan.run_id,
        verdict=overall(results),
        criteria=results,
        judged_at=moment.isoformat().replace("+00:00", "Z"),
        thresholds_changed=dict(changed or {}),
    )


def judged_safely(criterion: Criterion, evidence: RunEvidence) -> CriterionResult:
    """The criterion's result; INCONCLUSIVE with the reason when it raises."""
    try:
        return criterion.judge(evidence)
    except Exception as error:
        return CriterionResult(
            name=criterion.name,
            verdict=Verdict.INCONCLUSIVE,
            why=f"{criterion.name} could not be judged: {type(error).__name__}: {error}",
            cause="criterion_crashed",
            likely_cause="The evidence is damaged, or the criterion itself has a defect.",
            fix="Read the reason; materialise what is damaged again, or report the defect with the run folder.",
        )
