"""What a criterion says of itself, and what is said of one that does not pass.

A criterion is one module that ends in a `CRITERION`. Nobody else lists its stages, its causes or its names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.preview import Expectation
from soak_pipeline.model.verdict import CriterionResult, Finding


class Diagnosis(NamedTuple):
    """What is probably the matter.

    Attributes:
        cause: its name, such as `chain_forked`; the same whatever the figures in the sentences. One row of
            `docs/troubleshooting.md` has it.
        likely_cause: one sentence, with figures.
        fix: what to do.
    """

    cause: str
    likely_cause: str
    fix: str


class Need(NamedTuple):
    """Something that a criterion reads from the platform.

    Attributes:
        subject: what is read, for a person.
        capabilities: what the target must offer for it, by the names of preflight.
    """

    subject: str
    capabilities: tuple[str, ...]


Cause = Callable[[RunEvidence, Sequence[Finding]], Diagnosis]
OpenCause = Callable[[RunEvidence, Sequence[Finding]], Diagnosis | None]


def shows_in(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """The diagnosis of a criterion that knows no cause of a FAIL."""
    return Diagnosis(
        "unknown", f"Unknown; it shows in {findings[0].subject}.", "See the evidence files that the criterion names."
    )


def nothing(plan: Plan) -> Iterator[Need]:
    """Needs nothing from the platform."""
    yield from ()


def no_outlook(plan: Plan) -> Iterator[Expectation]:
    """Says nothing beforehand but what its needs say."""
    yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One criterion.

    Attributes:
        name: the fact in the present tense; also the name of its module, and of its section in `docs/criteria.md`.
        short: its name where there is little room.
        question: what it answers, for a person.
        rests_on: stages without whose output it cannot be answered.
        judge: evidence to result; pure.
        cause_of_fail: likely cause of a FAIL, from the findings that fail, worst first.
        cause_of_open: likely cause of an INCONCLUSIVE, from the findings that are open; None when it knows no better
            than that something was not measured.
        needs: what it reads from the platform, as a plan asks it.
        outlook: what a run of this size can decide, from the plan alone.
    """

    name: str
    short: str
    question: str
    rests_on: tuple[str, ...]
    judge: Callable[[RunEvidence], CriterionResult]
    cause_of_fail: Cause = shows_in
    cause_of_open: OpenCause | None = None
    needs: Callable[[Plan], Iterator[Need]] = nothing
    outlook: Callable[[Plan], Iterator[Expectation]] = no_outlook


def total(findings: Sequence[Finding], figure: str) -> int:
    """Sum of one figure over some findings; absent ones count as 0."""
    return sum(int(value) for finding in findings if isinstance(value := finding.figures.get(figure), int | float))
