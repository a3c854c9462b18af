"""Criterion: every flight timeline was closed by the call that opened it.

Claim: after the drain no timeline of a soak tenant is in progress, and no more than the allowed share was closed by the
backfill, which closes what a crashed gateway left open and so would hide it.

Validity guard: the counts were read, and there are at least as many timelines as executed calls that we recorded, so
that a listing cut short cannot pass. Otherwise INCONCLUSIVE.
"""

from __future__ import annotations

from collections.abc import Iterator

from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.platform_records.causes import timelines
from soak_pipeline.criteria.request_counts import executed_calls
from soak_pipeline.criteria.results import conclude, stage_missing, unmeasured
from soak_pipeline.criteria.sources import stage_file, unavailable
from soak_pipeline.criteria.wording import count, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import TimelineEvidence
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_least, at_most

NEEDS = ("database.flight_recorder",)
"""What the target must offer."""
NO_STUCK_TIMELINE = at_most(0.0, "stuck timelines")


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges the timelines of every tenant; see the module's test plan."""
    platform = evidence.platform_evidence
    if platform is None:
        return stage_missing(evidence, CRITERION, "platform_evidence")
    entries = {entry.tenant: entry for entry in platform.timelines}
    executed = executed_calls(evidence.requests)
    findings = [
        _finding(evidence, tenant.name, entries.get(tenant.name), executed.get(tenant.name, 0))
        for tenant in evidence.plan.tenants
    ]
    total = sum(entry.total or 0 for entry in platform.timelines)
    recovered = sum(entry.recovered_backfill or 0 for entry in platform.timelines)
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=NO_STUCK_TIMELINE,
        passed=f"all {count(total, 'timeline')} of {count(len(findings), 'tenant')} are closed, "
        f"{count(recovered)} of them by the backfill",
        files=[stage_file(evidence, "platform_evidence")],
    )


def _finding(evidence: RunEvidence, name: str, entry: TimelineEvidence | None, executed: int) -> Finding:
    subject = f"tenant {name}"
    if entry is None:
        return unmeasured(subject, f"tenant {name}: its timelines were not read")
    limit = evidence.thresholds_of(name).recovered_timelines_share_max
    figures: dict[str, float | int | str | None] = {
        "timelines": entry.total,
        "in_progress": entry.in_progress,
        "recovered_backfill": entry.recovered_backfill,
        "executed_calls_recorded": executed,
    }
    if entry.in_progress:
        return Finding(
            subject=subject,
            verdict=Verdict.FAIL,
            observed=float(entry.in_progress),
            limit=NO_STUCK_TIMELINE,
            why=f"tenant {name}: {count(entry.in_progress, 'timeline')} of {count(entry.total or 0)} still in progress "
            "after the drain, limit 0",
            figures=figures,
        )
    if not entry.total or entry.in_progress is None or entry.recovered_backfill is None:
        reason = entry.reason or unavailable(evidence, *NEEDS)
        what = "there are no timelines" if entry.total == 0 else "its timelines could not be read"
        return unmeasured(subject, f"tenant {name}: {what}{': ' + reason if reason else ''}", **figures)
    recovered = entry.recovered_backfill / entry.total
    why = (
        f"tenant {name}: {count(entry.recovered_backfill)} of {count(entry.total, 'timeline')} ({share(recovered)}) "
        f"closed by the backfill, limit {share(limit)}"
    )
    figures["recovered_share"] = recovered
    allowed = at_most(limit, "share")
    if not allowed.allows(recovered):
        return Finding(
            subject=subject, verdict=Verdict.FAIL, observed=recovered, limit=allowed, why=why, figures=figures
        )
    if entry.total < executed:
        return Finding(
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            observed=float(entry.total),
            limit=at_least(executed, "timelines"),
            why=f"tenant {name}: only {count(entry.total, 'timeline')} for {count(executed, 'executed call')} were "
            "seen",
            figures=figures,
        )
    return Finding(
        subject=subject, verdict=Verdict.PASS, observed=0.0, limit=NO_STUCK_TIMELINE, why=why, figures=figures
    )


def _needs(plan: Plan) -> Iterator[Need]:
    yield Need("timelines", NEEDS)


CRITERION = Criterion(
    name="no_timeline_is_stuck",
    short="timelines",
    question="Is every flight timeline closed, and by its own call rather than by the backfill?",
    rests_on=("platform_evidence",),
    judge=judge,
    cause_of_fail=timelines,
    needs=_needs,
)
