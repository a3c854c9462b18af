"""Criterion: the run measured what it set out to measure.

Claim: every planned phase ran to its end; the load generator sent what was due, on time, with CPU to spare and no
worker lost; the mix and the split over the tenants were as planned; every record was kept; telemetry has no large gap;
the platform's clock agrees with ours; and the host was not taken away from us.

Each condition is one finding with its own reason. A condition that is violated or unknown is INCONCLUSIVE, never FAIL:
it says nothing about the platform.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from soak_pipeline.analysis.percentiles import minimum_samples
from soak_pipeline.criteria.generator_health import cpu_finding, lag_finding, lost_finding
from soak_pipeline.criteria.latency_tables import JUDGED_KIND, JUDGED_SHARE
from soak_pipeline.criteria.request_counts import count_by, count_by_two
from soak_pipeline.criteria.results import conclude, unmeasured
from soak_pipeline.criteria.sources import REQUESTS, TELEMETRY_FILE, stage_file, unavailable, why_missing
from soak_pipeline.criteria.windows import load_sessions, soak_stretch_s
from soak_pipeline.criteria.wording import count, quantity, seconds, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.plan import LoadSession, plan_hash
from soak_pipeline.model.series import Source
from soak_pipeline.model.stage_outputs import SessionReport, StageStatus
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict

NAME = "load_was_valid"
QUESTION = "Was the load sent as planned, on time and in full, so that the other answers mean something?"

END_TOLERANCE_S = 2.0
SHARE_TOLERANCE = 0.02
SAMPLING_SIGMAS = 4.0
GENERATOR_RSS_GROWTH_BYTES_MAX = 256.0 * 1024 * 1024


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges every validity condition; see the module's test plan."""
    sessions = load_sessions(evidence)
    findings = [_provisioned(evidence), *_stages(evidence)]
    for planned, report in sessions:
        findings += _session_findings(evidence, planned, report)
    findings += [
        *_records(evidence, sessions),
        *_samples(evidence),
        *_mix(evidence),
        *(_telemetry_gap(evidence, source) for source in _watched(evidence)),
        _clock(evidence),
        _steal(evidence),
        _load_average(evidence),
    ]
    return conclude(
        evidence,
        NAME,
        findings,
        unit="",
        passed=f"all {count(len(findings), 'condition')} of a valid load hold",
        files=[stage_file(evidence, "soak"), REQUESTS, TELEMETRY_FILE],
    )


def _verdict(holds: bool) -> Verdict:
    return Verdict.PASS if holds else Verdict.INCONCLUSIVE


def _provisioned(evidence: RunEvidence) -> Finding:
    """The tenants were made under the plan that is judged."""
    if evidence.provision is None:
        return unmeasured("stage provision", f"stage provision left no evidence: {why_missing(evidence, 'provision')}")
    same = evidence.provision.plan_hash == plan_hash(evidence.plan)
    return Finding(
        subject="stage provision",
        verdict=_verdict(same),
        why="the tenants were made under this plan"
        if same
        else "the tenants were made under another plan than is stored",
    )


def _stages(evidence: RunEvidence) -> list[Finding]:
    """Every load stage is there and ended as planned."""
    findings = []
    for name in ("baseline", "burst", "agent_fanout", "soak"):
        stage = getattr(evidence, name)
        subject = f"stage {name}"
        if stage is None:
            findings.append(unmeasured(subject, f"stage {name} left no evidence: {why_missing(evidence, name)}"))
            continue
        complete = stage.status is StageStatus.COMPLETE
        how = stage.status.value.replace("_", " ")
        findings.append(
            Finding(
                subject=subject,
                verdict=_verdict(complete),
                why=f"stage {name} ran to its end" if complete else f"stage {name} was {how}: {stage.reason}",
            )
        )
    return findings


def _session_findings(evidence: RunEvidence, planned: LoadSession, report: SessionReport) -> list[Finding]:
    thresholds = evidence.thresholds
    return [
        _length(planned, report),
        *_achieved_rates(evidence, report),
        lag_finding(report, thresholds),
        cpu_finding(report, thresholds),
        lost_finding(report),
        _generator_memory(report),
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
    holds = ran_s >= due_s - tolerance_s
    return Finding(
        subject=subject,
        verdict=_verdict(holds),
        observed=ran_s,
        limit=due_s,
        unit="s",
        why=f"session {planned.name} ran {seconds(ran_s)} of {seconds(due_s)} planned",
    )


def _achieved_rates(evidence: RunEvidence, report: SessionReport) -> list[Finding]:
    """Each tenant sent what the schedule wanted sent."""
    limit = evidence.thresholds.achieved_rate_share_min
    findings = []
    for tenant in evidence.plan.tenants:
        subject = f"rate of tenant {tenant.name}, session {report.name}"
        due = sum(worker.due.get(tenant.name, 0) for worker in report.workers)
        sent = sum(worker.sent.get(tenant.name, 0) for worker in report.workers)
        if not due:
            findings.append(unmeasured(subject, f"tenant {tenant.name} had nothing to send in session {report.name}"))
            continue
        achieved = sent / due
        findings.append(
            Finding(
                subject=subject,
                verdict=_verdict(achieved >= limit),
                observed=achieved,
                limit=limit,
                unit="share",
                why=f"tenant {tenant.name} sent {count(sent)} of {count(due, 'request')} that were due in session "
                f"{report.name} ({share(achieved)}), at least {share(limit)} needed",
            )
        )
    return findings


def _generator_memory(report: SessionReport) -> Finding:
    """The load workers' own memory stayed flat, whatever the duration."""
    subject = f"generator memory, session {report.name}"
    limit = GENERATOR_RSS_GROWTH_BYTES_MAX
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
        verdict=_verdict(worst <= limit),
        observed=worst,
        limit=limit,
        unit="bytes",
        why=f"memory of a load worker grew by {quantity(worst, 'bytes')} in session {report.name}, "
        f"limit {quantity(limit, 'bytes')}",
    )


def _records(evidence: RunEvidence, sessions: Iterable[tuple[LoadSession, SessionReport]]) -> list[Finding]:
    """Every record that a session wrote can be read."""
    kept = count_by(evidence.requests, "session") if len(evidence.requests) else {}
    findings = []
    for _, report in sessions:
        read = kept.get(report.name, 0)
        findings.append(
            Finding(
                subject=f"records, session {report.name}",
                verdict=_verdict(read == report.records and read > 0),
                observed=float(read),
                limit=float(report.records),
                unit="records",
                why=f"{count(read)} of {count(report.records, 'record')} of session {report.name} can be read",
            )
        )
    return findings


def _samples(evidence: RunEvidence) -> list[Finding]:
    """Each tenant made enough executed calls in the soak for its p95 to have an upper bound."""
    requests = evidence.requests
    mask = requests.where(phase=Phase.SOAK, kind=JUDGED_KIND) if len(requests) else None
    made = {} if mask is None else count_by(requests, "tenant", mask)
    fewest = minimum_samples(JUDGED_SHARE)
    return [
        Finding(
            subject=f"samples of tenant {tenant.name}",
            verdict=_verdict(made.get(tenant.name, 0) >= fewest),
            observed=float(made.get(tenant.name, 0)),
            limit=float(fewest),
            unit="requests",
            why=f"tenant {tenant.name} made {count(made.get(tenant.name, 0), 'executed call')} in the soak, at least "
            f"{fewest} needed",
        )
        for tenant in evidence.plan.tenants
    ]


def _mix(evidence: RunEvidence) -> list[Finding]:
    """Kinds per tenant, and tenants among all, as planned; what chance explains is allowed for."""
    requests = evidence.requests
    soak = requests.take(requests.where(phase=Phase.SOAK)) if len(requests) else requests
    if not len(soak):
        return [unmeasured("mix", "no request of the soak was recorded")]
    soak = soak.take(~soak.where(kind=Kind.AUTH))
    tenants = count_by(soak, "tenant")
    planned = {tenant.name: tenant.soak_users / evidence.plan.profile.users for tenant in evidence.plan.tenants}
    mix = {kind.value: part for kind, part in evidence.plan.profile.mix.items()}
    findings = [_shares_finding("split over the tenants", tenants, planned)]
    findings += [_shares_finding(f"mix of tenant {name}", kinds, mix) for name, kinds in _kinds_by_tenant(soak).items()]
    return findings


def _kinds_by_tenant(soak: RequestTable) -> dict[str, dict[str, int]]:
    counts = count_by_two(soak, "tenant", "kind")
    return {
        tenant: {kind: int(number) for kind, number in zip(soak.labels["kind"], row, strict=True)}
        for tenant, row in sorted(zip(soak.labels["tenant"], counts, strict=True))
        if row.sum()
    }


def _shares_finding(subject: str, counts: Mapping[str, int], planned: Mapping[str, float]) -> Finding:
    """Largest deviation of a share from the planned one, beyond what sampling explains."""
    total = sum(counts.values())
    worst_name, worst_excess, worst_deviation = "", -math.inf, 0.0
    for name in {*counts, *planned}:
        share_planned = planned.get(name, 0.0)
        deviation = abs(counts.get(name, 0) / total - share_planned)
        allowed = SHARE_TOLERANCE + SAMPLING_SIGMAS * math.sqrt(share_planned * (1.0 - share_planned) / total)
        if deviation - allowed > worst_excess:
            worst_name, worst_excess, worst_deviation = name, deviation - allowed, deviation
    limit = worst_deviation - worst_excess
    return Finding(
        subject=subject,
        verdict=_verdict(worst_excess <= 0.0),
        observed=worst_deviation,
        limit=limit,
        unit="share",
        why=f"{subject}: {worst_name} is {share(counts.get(worst_name, 0) / total)} of {count(total, 'request')}, "
        f"planned {share(planned.get(worst_name, 0.0))}, limit of the difference {share(limit)}",
        figures=dict(counts),
    )


def _watched(evidence: RunEvidence) -> list[Source]:
    """Sources that must have been sampled; a platform without metrics is the business of `nothing_leaks`."""
    return [Source.GENERATOR] if unavailable(evidence, "metrics") else [Source.GENERATOR, Source.PLATFORM]


def _telemetry_gap(evidence: RunEvidence, source: Source) -> Finding:
    """Longest stretch of the soak without a sample of one source."""
    subject = f"telemetry of the {source.value}"
    limit = evidence.thresholds.telemetry_gap_s_max
    stretch = soak_stretch_s(evidence)
    series = [samples for key, samples in evidence.telemetry.items() if key.source == source]
    if not series or stretch is None:
        why = "the soak never began" if stretch is None else "no sample was taken"
        return unmeasured(subject, f"there is no {subject}: {why}")
    times = np.unique(np.concatenate([one.times_s[np.isfinite(one.values)] for one in series]))
    inside = times[(times >= stretch[0]) & (times <= stretch[1])]
    gap_s = float(np.diff(np.concatenate(([stretch[0]], inside, [stretch[1]]))).max())
    return Finding(
        subject=subject,
        verdict=_verdict(gap_s <= limit),
        observed=gap_s,
        limit=limit,
        unit="s",
        why=f"longest gap in the {subject} during the soak was {seconds(gap_s)}, limit {seconds(limit)}",
        figures={"samples": len(inside)},
    )


def _clock(evidence: RunEvidence) -> Finding:
    """The platform's clock agrees with ours, before and after."""
    limit = evidence.thresholds.clock_skew_s_max
    before = None if evidence.provision is None else evidence.provision.clock_skew_s
    after = None if evidence.platform_evidence is None else evidence.platform_evidence.clock_skew_s
    known = [skew for skew in (before, after) if skew is not None]
    figures: dict[str, float | int | str | None] = {"clock_skew_s_before": before, "clock_skew_s_after": after}
    if not known:
        return unmeasured("clock", "the platform's clock was not compared with ours", **figures)
    skew = max(known, key=abs)
    return Finding(
        subject="clock",
        verdict=_verdict(abs(skew) <= limit),
        observed=abs(skew),
        limit=limit,
        unit="s",
        why=f"the platform's clock was {seconds(abs(skew))} {'ahead of' if skew > 0 else 'behind'} ours, "
        f"limit {seconds(limit)}",
        figures=figures,
    )


def _steal(evidence: RunEvidence) -> Finding:
    """The hypervisor left us the host's CPU."""
    limit = evidence.thresholds.host_steal_share_max
    mean = _host_mean(evidence, "cpu_steal_share")
    if mean is None:
        return unmeasured("host steal", "CPU time taken by the hypervisor was not recorded in the soak")
    idle = _host_mean(evidence, "cpu_idle_share")
    return Finding(
        subject="host steal",
        verdict=_verdict(mean <= limit),
        observed=mean,
        limit=limit,
        unit="share",
        why=f"the hypervisor took {share(mean)} of the host's CPU in the soak, limit {share(limit)}",
        figures={"cpu_idle_share": idle},
    )


def _load_average(evidence: RunEvidence) -> Finding:
    """Recorded so that a reader can tell a busy host; it has no limit."""
    mean = _host_mean(evidence, "load_average")
    if mean is None:
        return unmeasured("host load", "the host's load average was not recorded in the soak")
    return Finding(
        subject="host load",
        verdict=Verdict.PASS,
        observed=mean,
        unit="count",
        why=f"the host's load average was {mean:.1f} in the soak",
    )


def _host_mean(evidence: RunEvidence, series: str) -> float | None:
    stretch = soak_stretch_s(evidence)
    if stretch is None:
        return None
    parts = [
        samples.between(*stretch).values
        for key, samples in evidence.telemetry.items()
        if key.source == Source.HOST and key.series == series
    ]
    values = np.concatenate(parts) if parts else np.empty(0)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None
