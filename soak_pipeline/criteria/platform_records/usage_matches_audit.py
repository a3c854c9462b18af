"""Criterion: what was audited is what is billed, and the pipelines were empty in time.

Claim: for each tenant, every billable audit row has its usage row and every usage row its audit row, nothing is billed
twice, and no pending or failed row is left in the outbox. For the platform: the pipelines emptied within the limit
after the load stopped, and no dead letter was left.

Validity guard: every count was read, and there were billable rows. Otherwise INCONCLUSIVE.

Source: the reconciliation that operators run by hand, per tenant and after the drain, because rows that are still on
their way look like gaps.
"""

from __future__ import annotations

from collections.abc import Iterator

from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.platform_records.causes import PIPELINES, usage
from soak_pipeline.criteria.results import conclude, stage_missing, unmeasured
from soak_pipeline.criteria.sources import RECONCILE_FILE, stage_file, unavailable
from soak_pipeline.criteria.wording import count, listed, seconds
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import Drain, PlatformEvidence, ReconcileEvidence
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most

NEEDS = ("database.audit", "database.usage")
"""What the target must offer for the rows."""
QUEUES_NEED = ("redis", "database.audit")
"""What it must offer for the pipelines and their dead letters."""
NO_UNMATCHED_ROW = at_most(0.0, "unmatched rows")

_COUNTS = (
    ("audit_without_usage", "{} without usage", "audit row"),
    ("usage_without_audit", "{} without an audit row", "usage row"),
    ("billed_twice", "{} billed twice", "call"),
    ("outbox_pending", "{} in the outbox", "pending row"),
    ("outbox_failed", "{} in the outbox", "failed row"),
)


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges the reconciliation of every tenant, the drain and the dead letters; see the module's test plan."""
    platform = evidence.platform_evidence
    if platform is None:
        return stage_missing(evidence, CRITERION, "platform_evidence", [RECONCILE_FILE])
    tenants = reconcile_findings(evidence)
    drained = f"the pipelines were empty {seconds(platform.drain.seconds)} after the load"
    return conclude(
        evidence,
        CRITERION,
        [*tenants, _drain_finding(evidence, platform.drain), _dead_letter_finding(platform)],
        main=NO_UNMATCHED_ROW,
        passed=f"usage matches the audit rows of all {len(tenants)} tenants, and {drained}",
        files=[RECONCILE_FILE, stage_file(evidence, "platform_evidence")],
    )


def reconcile_findings(evidence: RunEvidence) -> list[Finding]:
    """One finding per tenant of the plan."""
    platform = evidence.platform_evidence
    entries = {} if platform is None else {entry.tenant: entry for entry in platform.reconciliation}
    return [_tenant_finding(evidence, tenant.name, entries.get(tenant.name)) for tenant in evidence.plan.tenants]


def _tenant_finding(evidence: RunEvidence, name: str, entry: ReconcileEvidence | None) -> Finding:
    subject = f"tenant {name}"
    if entry is None:
        return unmeasured(subject, f"tenant {name}: its usage was not compared with its audit rows")
    found = {field: getattr(entry, field) for field, _, _ in _COUNTS}
    figures = {"billable_audit_rows": entry.billable_audit_rows, "usage_rows": entry.usage_rows, **found}
    problems = [template.format(count(found[field], noun)) for field, template, noun in _COUNTS if found[field]]
    if problems:
        example = f", such as request {entry.samples[0]}" if entry.samples else ""
        return Finding(
            subject=subject,
            verdict=Verdict.FAIL,
            observed=float(sum(number for number in found.values() if number)),
            limit=NO_UNMATCHED_ROW,
            why=f"tenant {name}: {listed(problems)}{example}, limit 0; see {RECONCILE_FILE}",
            figures=figures,
        )
    unread = [field for field, number in found.items() if number is None]
    if unread or not entry.billable_audit_rows:
        reason = entry.reason or unavailable(evidence, *NEEDS)
        what = f"{listed(unread)} could not be read" if unread else "there were no billable audit rows"
        return Finding(
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            limit=NO_UNMATCHED_ROW,
            why=f"tenant {name}: {what}{': ' + reason if reason else ''}",
            figures=figures,
        )
    return Finding(
        subject=subject,
        verdict=Verdict.PASS,
        observed=0.0,
        limit=NO_UNMATCHED_ROW,
        why=f"tenant {name}: {count(entry.billable_audit_rows, 'billable audit row')}, each with one usage row",
        figures=figures,
    )


def _drain_finding(evidence: RunEvidence, drain: Drain) -> Finding:
    """A drain that was watched is judged by its end; of one that was over at the first look, only an end within the
    limit, or a look beyond it at which it was not over, says anything."""
    limit_s = evidence.thresholds.drain_s_max
    left = listed(f"{count(number)} in {queue}" for queue, number in drain.left.items() if number)
    observed, limit = None if drain.drained is None else drain.seconds, at_most(limit_s, "s")
    if drain.drained is None:
        verdict, why = Verdict.INCONCLUSIVE, f"whether the pipelines emptied could not be seen: {drain.reason}"
    elif not drain.drained:
        # The wait may have ended before the limit; what was left is the figure that does not hold.
        verdict, observed, limit = Verdict.FAIL, float(sum(drain.left.values())), at_most(0.0, "entries left")
        why = (
            f"pipelines were not empty {seconds(drain.seconds)} after the load, limit {seconds(limit_s)}; left: {left}"
        )
    elif drain.seconds > limit_s and _was_seen_full(evidence, drain, limit_s):
        verdict = Verdict.FAIL
        why = f"pipelines took {_duration(evidence, drain)} to empty after the load, limit {seconds(limit_s)}"
    elif drain.seconds > limit_s:
        verdict = Verdict.INCONCLUSIVE
        why = (
            f"pipelines were first looked at {seconds(drain.seconds)} after the load, and were empty; whether they "
            f"were so within {seconds(limit_s)} was not seen"
        )
    else:
        verdict = Verdict.PASS
        why = f"pipelines were empty {seconds(drain.seconds)} after the load, limit {seconds(limit_s)}"
    return Finding(
        subject=PIPELINES,
        about=PIPELINES,
        verdict=verdict,
        observed=observed,
        limit=limit,
        why=why,
        figures={f"left_{queue}": number for queue, number in drain.left.items()},
    )


def _was_seen_full(evidence: RunEvidence, drain: Drain, limit_s: float) -> bool:
    """Whether the pipelines were seen not to be empty beyond the limit, in this reading or in an earlier one."""
    was_watched = drain.first_look_s is None or drain.seconds > drain.first_look_s
    return was_watched or (_last_seen_full_s(evidence) or 0.0) >= limit_s


def _last_seen_full_s(evidence: RunEvidence) -> float | None:
    platform = evidence.platform_evidence
    full = [reading.at_s for reading in platform.readings if reading.drained is False] if platform else []
    return max(full, default=None)


def _duration(evidence: RunEvidence, drain: Drain) -> str:
    """How long the drain took; where it ended between two readings, both."""
    full_s = _last_seen_full_s(evidence)
    if full_s is None or full_s >= drain.seconds:
        return seconds(drain.seconds)
    return f"between {seconds(full_s)} and {seconds(drain.seconds)}"


def _dead_letter_finding(platform: PlatformEvidence) -> Finding:
    queues = platform.dead_letters
    if not queues:
        return unmeasured("dead letters", "no dead-letter queue could be read")
    total = sum(queues.values())
    filled = listed(f"{count(number)} in {queue}" for queue, number in queues.items() if number)
    return Finding(
        subject="dead letters",
        verdict=Verdict.FAIL if total else Verdict.PASS,
        observed=float(total),
        limit=at_most(0.0, "dead letters"),
        why=f"{count(total, 'dead letter')}: {filled}; limit 0" if total else "no dead letter was left",
        figures=dict(queues),
    )


def _needs(plan: Plan) -> Iterator[Need]:
    yield Need("rows", NEEDS)
    yield Need(PIPELINES, QUEUES_NEED)


CRITERION = Criterion(
    name="usage_matches_audit",
    short="usage",
    question="Does every tenant's usage match its audit rows, with empty queues in time after the load?",
    rests_on=("platform_evidence",),
    judge=judge,
    cause_of_fail=usage,
    needs=_needs,
)
