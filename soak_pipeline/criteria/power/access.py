"""What a target must offer for which criterion, and what it costs where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from soak_pipeline.criteria import (
    chain_has_no_violations,
    fanout_is_correct,
    gateway_p95_is_under_slo,
    no_timeline_is_stuck,
    nothing_leaks,
    roots_are_sealed,
    teardown_is_silent,
    usage_matches_audit,
)
from soak_pipeline.criteria.sources import missing_capability
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.stage_outputs import Capability

Need = tuple[str, str, tuple[str, ...]]
"""Criterion, subject, and the capabilities that it rests on."""


def needs(plan: Plan) -> Iterator[Need]:
    """Everything that the criteria read from the platform, as this plan asks it."""
    yield chain_has_no_violations.NAME, "rows", chain_has_no_violations.NEEDS
    yield usage_matches_audit.NAME, "rows", usage_matches_audit.NEEDS
    yield usage_matches_audit.NAME, "pipelines", usage_matches_audit.QUEUES_NEED
    yield no_timeline_is_stuck.NAME, "timelines", no_timeline_is_stuck.NEEDS
    yield roots_are_sealed.NAME, "roots", roots_are_sealed.NEEDS
    if plan.target.prometheus_url is not None:
        yield gateway_p95_is_under_slo.NAME, "Prometheus", gateway_p95_is_under_slo.PROMETHEUS_NEEDS
    if plan.profile.soak_s >= plan.thresholds.leak_min_duration_s:
        for name, series in LEAK_SERIES.items():
            if series.is_expected:
                yield nothing_leaks.NAME, series.resource, (nothing_leaks.CAPABILITY_OF.get(name, "metrics"),)
    yield fanout_is_correct.NAME, "identity graph", fanout_is_correct.GRAPH_NEEDS
    yield fanout_is_correct.NAME, "chain", fanout_is_correct.CHAIN_NEEDS
    yield teardown_is_silent.NAME, "rows after the block", teardown_is_silent.NEEDS


def access_expectations(plan: Plan, capabilities: Sequence[Capability]) -> Iterator[Expectation]:
    """One per criterion and subject: whether the target offers what it rests on, as far as is known.

    Args:
        plan: of the run.
        capabilities: as preflight found them; before it, those that the target file rules out.
    """
    for criterion, subject, names in needs(plan):
        missing = missing_capability(capabilities, *names)
        yield Expectation(
            criterion=criterion,
            subject=subject,
            outlook=Outlook.UNDECIDABLE if missing else Outlook.DECIDABLE,
            why=missing or f"read from {' and '.join(names)}",
            remedy="a target file that gives it would do" if missing else "",
        )


def criteria_that_need(plan: Plan, capability: str) -> list[str]:
    """The criteria that stay INCONCLUSIVE without a capability, each once."""
    return list(dict.fromkeys(criterion for criterion, _, names in needs(plan) if capability in names))
