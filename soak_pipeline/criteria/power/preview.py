"""What a plan can decide: every expectation, in the order of the criteria."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.power.access import access_expectations
from soak_pipeline.criteria.power.coverage import (
    decision_expectations,
    fanout_expectations,
    leak_expectations,
    validity_expectations,
)
from soak_pipeline.criteria.power.fairness import fairness_expectations
from soak_pipeline.criteria.power.latency import latency_expectations
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.preview import Expectation
from soak_pipeline.model.stage_outputs import Capability


def preview(plan: Plan, capabilities: Sequence[Capability] = ()) -> tuple[Expectation, ...]:
    """What the criteria will have to go by if the run goes as planned; a pure function.

    Args:
        plan: of the run.
        capabilities: of the target, as preflight found them; before preflight, those that the target file rules out.

    Returns:
        At least one expectation per criterion, in the order of the criteria.
    """
    found = [
        *access_expectations(plan, capabilities),
        *latency_expectations(plan),
        *fairness_expectations(plan),
        *leak_expectations(plan),
        *decision_expectations(plan),
        *fanout_expectations(plan),
        *validity_expectations(plan),
    ]
    order = {criterion.name: position for position, criterion in enumerate(CRITERIA)}
    return tuple(sorted(found, key=lambda expectation: order[expectation.criterion]))
