"""Stages and load sessions: they ran to their end, at the planned rate, with a fit generator."""

from __future__ import annotations

from soak_pipeline.criteria.generator_health import cpu_finding, lag_finding, lost_finding
from soak_pipeline.criteria.results import unmeasured
from soak_pipeline.criteria.sources import why_missing
from soak_pipeline.criteria.validity.condition import RATE, STAGE, ended_in_words, holds_or_open
from soak_pipeline.criteria.wording import count, quantity, seconds, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import LoadSession
from soak_pipeline.model.stage_outputs import SessionReport, StageStatus
from soak_pipeline.model.verdict import Finding, at_least, at_most

END_TOLERANCE_S = 2.0


def provisioned(evidence: RunEvidence) -> Finding:
    """The tenants were made under the plan that is judged."""
    if evidence.provision is None:
        why = f"stage provision left no evidence: {why_missing(evidence, 'provision')}"
        return unmeasured("stage provision", why, STAGE)
    same = evidence.provision.plan_hash == evidence.plan_hash
    return Finding(
        subject="stage provision",
        about=STAGE,
        verdict=holds_or_open(same),
        why="the tenants were made under this plan"
        if same
        else "the tenants were made under another plan than is stored",
    )


def stages_ended(evidence: RunEvidence) -> list[Finding]:
    """Every load stage is there and ended as planned."""
    findings = []
    for name in ("baseline", "burst", "agent_fanout", "soak"):
        stage = getattr(evidence, name)
        subject = f"stage {name}"
        if stage is None:
            why = f"stage {name} left no evidence: {why_missing(evidence, name)}"
            findings.append(unmeasured(subject, why, STAGE))
            continue
        complete = stage.status is StageStatus.COMPLETE
        findings.append(
            Finding(
                subject=subject,
                about=STAGE,
                verdict=holds_or_open(complete),
                why=f"stage {name} ran to its end"
                if complete
                else f"stage {name} {ended_in_words(stage.status)}: {stage.reason}",
            )
        )
    return findings


def session_conditions(evidence: RunEvidence, planned: LoadSession, report: SessionReport) -> list[Finding]:
    thresholds = evidence.thresholds
    return [
        _length(planned, report),
        *_achieved_rates(evidence, report),
        lag_finding(report, thresholds),
        cpu_finding(report, thresholds),
        lost_finding(report),
        _generator_memory(evidence, report),
    ]


def _length(planned: LoadSession, report: SessionReport) -> Finding:
    """The session's windows ran for their full length."""
    subject = f"length, session {planned.name}"
    if report.zero_us is None or report.ended_us is None:
        return unmeasured(subject, f"session {planned.name} never began: {report.reason or 'no reason was given'}")
    ran_s = (report.ended_us - report.zero_us) / 1e6
    due_s = planned.duration_s
    rate = sum(load.requests_per_second for load in planned.windows[-1].loads.values())
    # The last request is due a little before the end: up to a few mean gaps between two requests.
    tolerance_s = max(END_TOLERANCE_S, 5.0 / rate if rate else 0.0)
    limit = at_least(max(due_s - tolerance_s, 0.0), "s")
    return Finding(
        subject=subject,
        verdict=holds_or_open(limit.allows(ran_s)),
        observed=ran_s,
        limit=limit,
        why=f"session {planned.name} ran {seconds(ran_s)} of {seconds(due_s)} planned",
    )


def _achieved_rates(evidence: RunEvidence, report: SessionReport) -> list[Finding]:
    """Each tenant sent what the schedule wanted sent."""
    limit = at_least(evidence.thresholds.achieved_rate_share_min, "share")
    findings = []
    for tenant in evidence.plan.tenants:
        subject = f"rate of tenant {tenant.name}, session {report.name}"
        due = sum(worker.due.get(tenant.name, 0) for worker in report.workers)
        sent = sum(worker.sent.get(tenant.name, 0) for worker in report.workers)
        if not due:
            findings.append(
                unmeasured(subject, f"tenant {tenant.name} had nothing to send in session {report.name}", RATE)
            )
            continue
        achieved = sent / due
        findings.append(
            Finding(
                subject=subject,
                about=RATE,
                verdict=holds_or_open(limit.allows(achieved)),
                observed=achieved,
                limit=limit,
                why=f"tenant {tenant.name} sent {count(sent)} of {count(due, 'request')} that were due in session "
                f"{report.name} ({share(achieved)}), at least {share(limit.value)} needed",
            )
        )
    return findings


def _generator_memory(evidence: RunEvidence, report: SessionReport) -> Finding:
    """The load workers' own memory stayed flat, whatever the duration."""
    subject = f"generator memory, session {report.name}"
    limit = at_most(evidence.thresholds.generator_rss_growth_bytes_max, "bytes")
    growths = [
        worker.rss_bytes_end - worker.rss_bytes_start
        for worker in report.workers
        if worker.rss_bytes_start is not None and worker.rss_bytes_end is not None
    ]
    if not growths or len(growths) < len(report.workers):
        return unmeasured(subject, f"a load worker of session {report.name} did not report its memory")
    worst = float(max(growths))
    return Finding(
        subject=subject,
        verdict=holds_or_open(limit.allows(worst)),
        observed=worst,
        limit=limit,
        why=f"memory of a load worker grew by {quantity(worst, 'bytes')} in session {report.name}, "
        f"limit {quantity(limit.value, 'bytes')}",
    )
