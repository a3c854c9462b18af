"""The criteria, and the judgement of a run by all of them.

Owns the safety: a criterion that raises is INCONCLUSIVE with the reason, and the others are judged all the same. The
crash of a checker is never a PASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module

import msgspec

from soak_pipeline.criteria.criterion import Criterion
from soak_pipeline.criteria.names import MODULES
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import CriterionResult, Judgement, Verdict, overall


def _declared(module: str) -> Criterion:
    criterion: Criterion = import_module(module).CRITERION
    return criterion


CRITERIA: tuple[Criterion, ...] = tuple(map(_declared, MODULES.values()))


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
