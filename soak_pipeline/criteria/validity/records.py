"""Request records: all kept, enough of each tenant, in the planned mix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from soak_pipeline.analysis.percentiles import minimum_samples
from soak_pipeline.criteria.latency.tables import JUDGED_KIND, JUDGED_SHARE
from soak_pipeline.criteria.request_counts import count_by, count_by_two
from soak_pipeline.criteria.results import unmeasured
from soak_pipeline.criteria.validity.condition import RECORDS, holds_or_open
from soak_pipeline.criteria.wording import count, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.plan import LoadSession
from soak_pipeline.model.stage_outputs import SessionReport
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline.model.verdict import Finding, at_least, at_most

SHARE_TOLERANCE = 0.02
SAMPLING_SIGMAS = 4.0


def records_kept(evidence: RunEvidence, sessions: Iterable[tuple[LoadSession, SessionReport]]) -> list[Finding]:
    """Every record that a session wrote can be read."""
    kept = count_by(evidence.requests, "session") if len(evidence.requests) else {}
    findings = []
    for _, report in sessions:
        read = kept.get(report.name, 0)
        findings.append(
            Finding(
                subject=f"records, session {report.name}",
                about=RECORDS,
                verdict=holds_or_open(read == report.records and read > 0),
                observed=float(abs(report.records - read)) if read else None,
                limit=at_most(0.0, "records too few or too many"),
                why=f"{count(read)} of {count(report.records, 'record')} of session {report.name} can be read",
            )
        )
    return findings


def enough_samples(evidence: RunEvidence) -> list[Finding]:
    """Each tenant made enough executed calls in the soak for its p95 to have an upper bound."""
    requests = evidence.requests
    mask = requests.where(phase=Phase.SOAK, kind=JUDGED_KIND) if len(requests) else None
    made = {} if mask is None else count_by(requests, "tenant", mask)
    fewest = minimum_samples(JUDGED_SHARE)
    return [
        Finding(
            subject=f"samples of tenant {tenant.name}",
            verdict=holds_or_open(made.get(tenant.name, 0) >= fewest),
            observed=float(made.get(tenant.name, 0)),
            limit=at_least(fewest, "requests"),
            why=f"tenant {tenant.name} made {count(made.get(tenant.name, 0), 'executed call')} in the soak, at least "
            f"{fewest} needed",
        )
        for tenant in evidence.plan.tenants
    ]


def mix_as_planned(evidence: RunEvidence) -> list[Finding]:
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
        verdict=holds_or_open(worst_excess <= 0.0),
        observed=worst_deviation,
        limit=at_most(limit, "share"),
        why=f"{subject}: {worst_name} is {share(counts.get(worst_name, 0) / total)} of {count(total, 'request')}, "
        f"planned {share(planned.get(worst_name, 0.0))}, limit of the difference {share(limit)}",
        figures=dict(counts),
    )
