"""What a plan can decide: every expectation, in the order of the criteria."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from soak_pipeline.criteria.criterion import Criterion
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.criteria.sources import missing_capability
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.stage_outputs import Capability


def preview(plan: Plan, capabilities: Sequence[Capability] = ()) -> tuple[Expectation, ...]:
    """What the criteria will have to go by if the run goes as planned; a pure function.

    Args:
        plan: of the run.
        capabilities: of the target, as preflight found them; before preflight, those that the target file rules out.

    Returns:
        At least one expectation per criterion, in the order of the criteria.
    """
    return tuple(
        msgspec.structs.replace(expectation, criterion=criterion.name)
        for criterion in CRITERIA
        for expectation in (*_access(criterion, plan, capabilities), *criterion.outlook(plan))
    )


def criteria_that_need(plan: Plan, capability: str) -> list[str]:
    """The criteria that stay INCONCLUSIVE without a capability, each once."""
    return [
        criterion.name
        for criterion in CRITERIA
        if any(capability in need.capabilities for need in criterion.needs(plan))
    ]


def _access(criterion: Criterion, plan: Plan, capabilities: Sequence[Capability]) -> Iterator[Expectation]:
    """One per need: whether the target offers what it rests on, as far as is known."""
    for need in criterion.needs(plan):
        missing = missing_capability(capabilities, *need.capabilities)
        yield Expectation(
            subject=need.subject,
            outlook=Outlook.UNDECIDABLE if missing else Outlook.DECIDABLE,
            why=missing or f"read from {' and '.join(need.capabilities)}",
            remedy="a target file that gives it would do" if missing else "",
        )
