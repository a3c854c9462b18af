"""Criterion: the gateway answers executed calls of every tenant in time, throughout the soak.

Claim: per tenant, p95 of the latency of executed calls, from the intended start, is within the limit over the whole
soak and in every five-minute window of it. A call without an answer counts as one at the timeout. The upper confidence
bound decides PASS, the lower one FAIL; a window fails only at a confidence that is shared over all windows of the
tenant, since one window in forty exceeds a 97.5 % bound by luck.

Validity guard: at least as many samples as a finite upper bound needs (72), in every window; and a generator that was
fit to measure, else a FAIL becomes INCONCLUSIVE. The gateway's own histogram is compared with our service times: a
disagreement beyond sampling error is reported, and where the server alone counts the limit as broken, the answer is
INCONCLUSIVE, because one of the two is wrong. The reverse accuses nobody: a client's time includes more. A target that
names a Prometheus wants the platform's own view of the soak heard: where that has not the whole soak, the answer is
INCONCLUSIVE, whatever the run's own samples of the metrics pages say instead.

Source: coordinated omission, hence the intended start; Locust's and Prometheus' bucketed percentiles are never used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from soak_pipeline.analysis.decision import Side
from soak_pipeline.analysis.percentiles import (
    PercentileEstimate,
    WindowedPercentiles,
    compare_to_limit,
    minimum_samples,
    percentile_estimate,
    percentile_estimates,
)
from soak_pipeline.analysis.proportions import Agreement, wilson_interval
from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.generator_health import generator_trouble
from soak_pipeline.criteria.latency.causes import PROMETHEUS, few_samples, slow_gateway
from soak_pipeline.criteria.latency.outlook import outlook
from soak_pipeline.criteria.latency.samples import LatencyGroup, latency_groups
from soak_pipeline.criteria.latency.tables import (
    CONFIDENCE,
    JUDGED_KIND,
    JUDGED_SHARE,
    design_effect,
    server_cross_checks,
    soak_windows,
)
from soak_pipeline.criteria.results import conclude, stage_missing, unmeasured
from soak_pipeline.criteria.sources import LATENCY_FILE, REQUESTS, unavailable, why_missing
from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.criteria.wording import count, ms, seconds, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.documents import ServerCrossCheck
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import HistogramSource
from soak_pipeline.model.traffic import Phase
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most

PROMETHEUS_NEEDS = ("prometheus",)
"""What the target must offer for the platform's own view of the soak, where the target file names one."""


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges the soak latency of every tenant; see the module's test plan."""
    files = [LATENCY_FILE, REQUESTS]
    if evidence.soak is None:
        return stage_missing(evidence, CRITERION, "soak", files)
    groups = {group.tenant: group for group in latency_groups(evidence, (Phase.SOAK,), (JUDGED_KIND,))}
    servers = {check.tenant: check for check in server_cross_checks(evidence)}
    trouble = generator_trouble(evidence.soak.sessions, evidence.thresholds)
    findings = [_finding(evidence, tenant.name, groups, trouble) for tenant in evidence.plan.tenants]
    findings += [
        _server_finding(evidence, finding, servers[tenant.name])
        for tenant, finding in zip(evidence.plan.tenants, findings, strict=True)
        if tenant.name in servers
    ]
    if evidence.plan.target.prometheus_url is not None:
        findings.append(_prometheus_finding(evidence, tuple(servers.values())))
    slowest = max(
        (finding for finding in findings if finding.unit == "ms"),
        key=lambda found: found.limit.closeness(found.observed) if found.limit else float("-inf"),
    )
    limits = sorted({evidence.thresholds_of(name).gateway_latency_ms_p95_max for name in evidence.plan.tenant_names})
    within = (
        f"at most {ms(limits[0])}" if len(limits) == 1 else f"within its limit of {ms(limits[0])} to {ms(limits[-1])}"
    )
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=at_most(evidence.thresholds.gateway_latency_ms_p95_max, "ms"),
        passed=f"p95 of every tenant is {within}; slowest is {slowest.subject} with {ms(slowest.observed or 0.0)}",
        files=files,
    )


def _finding(evidence: RunEvidence, name: str, groups: Mapping[str, LatencyGroup], trouble: str) -> Finding:
    subject = f"tenant {name}"
    limit = evidence.thresholds_of(name).gateway_latency_ms_p95_max
    group = groups.get(name)
    samples = 0 if group is None else len(group.latency_ms)
    fewest = minimum_samples(JUDGED_SHARE)
    if group is None or samples < fewest:
        return Finding(
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            limit=at_most(limit, "ms"),
            why=f"tenant {name}: {count(samples, 'executed call')} in the soak, p95 needs at least {fewest}",
            figures={"samples": samples},
        )
    effect = design_effect(group)
    whole = percentile_estimate(group.latency_ms, JUDGED_SHARE, confidence=CONFIDENCE, design_effect=effect)
    windowed = soak_windows(evidence, group)
    sides = [compare_to_limit(whole, limit)]
    if windowed is not None and len(windowed.windows) > 1:
        sides.append(windowed.side)
    verdict = _worst_side(sides)
    decisive, where = _decisive(evidence, whole, windowed, sides)
    why = f"tenant {name} {_words(decisive, where)}, limit {ms(limit)}; see {LATENCY_FILE}"
    if verdict is Verdict.FAIL and trouble:
        verdict, why = Verdict.INCONCLUSIVE, f"{why}; but {trouble}, so the figure does not accuse the platform"
    return Finding(
        subject=subject,
        verdict=verdict,
        observed=decisive.value,
        limit=at_most(limit, "ms"),
        interval=(decisive.lower, decisive.upper),
        why=why,
        figures=_figures(group, effect, whole, windowed),
    )


def _worst_side(sides: list[Side]) -> Verdict:
    if Side.ABOVE in sides:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if Side.OPEN in sides else Verdict.PASS


def _decisive(
    evidence: RunEvidence, whole: PercentileEstimate, windowed: WindowedPercentiles | None, sides: list[Side]
) -> tuple[PercentileEstimate, str]:
    """The estimate that decided, and where it is: the whole soak, unless a window alone is beyond it."""
    stretch = soak_stretch_s(evidence)
    window_decides = len(sides) > 1 and sides[0] is not Side.ABOVE and sides[1] is not sides[0]
    if not window_decides or windowed is None or windowed.worst is None or stretch is None:
        return whole, "over the soak"
    short = [window for window in windowed.windows if window.estimate.upper is None]
    window = short[0] if sides[1] is Side.OPEN and short else windowed.worst
    start, end = ((edge - stretch[0]) / 60.0 for edge in (window.start_s, window.end_s))
    return window.estimate, f"in minutes {start:.0f} to {end:.0f} of the soak"


def _words(estimate: PercentileEstimate, where: str) -> str:
    if estimate.value is None:
        return f"made no executed call {where}"
    p95 = f"p95 was {ms(estimate.value)} {where}"
    if estimate.lower is None or estimate.upper is None:
        worth = ""
        if estimate.effective_samples < estimate.samples:
            worth = f", worth {count(estimate.effective_samples)} because slow calls came together"
        return f"{p95} ({count(estimate.samples, 'sample')}{worth}: too few for an upper bound)"
    return f"{p95} (95 % interval {ms(estimate.lower)} to {ms(estimate.upper)})"


def _figures(
    group: LatencyGroup, effect: float, whole: PercentileEstimate, windowed: WindowedPercentiles | None
) -> dict[str, float | int | str | None]:
    service = percentile_estimates(group.service_ms, (0.5, JUDGED_SHARE, 0.99), design_effect=effect)
    latency = percentile_estimates(group.latency_ms, (0.5, 0.99), design_effect=effect)
    figures: dict[str, float | int | str | None] = {
        "samples": len(group.latency_ms),
        "unanswered": group.unanswered,
        "latency_ms_p50": latency[0].value,
        "latency_ms_p95": whole.value,
        "latency_ms_p99": latency[1].value,
        "service_ms_p50": service[0].value,
        "service_ms_p95": service[1].value,
        "service_ms_p99": service[2].value,
        "design_effect": round(effect, 3),
    }
    if windowed is not None and len(windowed.windows) > 1 and windowed.worst is not None:
        figures["windows"] = len(windowed.windows)
        figures["latency_ms_p95_worst_window"] = windowed.worst.estimate.value
        figures["worst_window_start_s"] = windowed.worst.start_s
    return figures


def _server_finding(evidence: RunEvidence, client: Finding, server: ServerCrossCheck) -> Finding:
    """The server's own histogram beside the client's verdict on the same tenant."""
    subject = f"{client.subject}, server histogram"
    figures: dict[str, float | int | str | None] = {
        "server_requests": server.server_requests,
        "client_requests": server.client_requests,
        "server_share_within": server.server_share,
        "client_share_within": server.client_share,
        "agreement": server.agreement,
        "source": server.source.value,
    }
    if server.server_share is None or server.client_share is None or not server.server_requests:
        why = f"{client.subject}: the gateway's histogram was not compared: {server.reason or 'it was not read'}"
        return Finding(subject=subject, verdict=Verdict.PASS, unit="share", why=why, figures=figures)
    within = round(server.server_share * server.server_requests)
    bound = wilson_interval(within, server.server_requests, confidence=CONFIDENCE)
    same_limit = server.within_ms == evidence.thresholds_of(server.tenant).gateway_latency_ms_p95_max
    contradicts = same_limit and client.verdict is Verdict.PASS and bound.upper < JUDGED_SHARE
    return Finding(
        subject=subject,
        verdict=Verdict.INCONCLUSIVE if contradicts else Verdict.PASS,
        observed=server.server_share,
        unit="share",
        interval=(bound.lower, bound.upper),
        why=f"{client.subject}: {_both_counts(server)}{_difference(server, contradicts)}",
        figures=figures,
    )


def _prometheus_finding(evidence: RunEvidence, servers: Sequence[ServerCrossCheck]) -> Finding:
    """Whether the Prometheus that the target file names has seen the whole soak."""
    named = "the Prometheus that the target file names"
    if not servers:
        why = f"{named} was not asked: {why_missing(evidence, 'platform_evidence')}"
        return unmeasured(PROMETHEUS, why, PROMETHEUS)
    for server in servers:
        if server.source is not HistogramSource.PROMETHEUS or server.server_requests is None:
            reason = unavailable(evidence, *PROMETHEUS_NEEDS) or f"tenant {server.tenant}: {server.reason}"
            why = f"{named} has not the gateway's histogram of the soak: {reason}"
            return unmeasured(PROMETHEUS, why, PROMETHEUS)
    limit = at_most(evidence.thresholds.telemetry_gap_s_max, "s")
    unseen = max(servers, key=lambda server: server.unseen_s or 0.0)
    unseen_s = unseen.unseen_s or 0.0
    return Finding(
        subject=PROMETHEUS,
        about=PROMETHEUS,
        verdict=Verdict.PASS if limit.allows(unseen_s) else Verdict.INCONCLUSIVE,
        observed=unseen_s,
        limit=limit,
        why=f"{named} has no sample of tenant {unseen.tenant} for {seconds(unseen_s)} at an edge of the soak, limit "
        f"{seconds(limit.value)}",
    )


def _both_counts(server: ServerCrossCheck) -> str:
    through = "Prometheus" if server.source is HistogramSource.PROMETHEUS else "its metrics pages"
    instead = f" ({server.reason})" if server.reason else ""
    return (
        f"the gateway counts {share(server.server_share or 0.0)} of {count(server.server_requests or 0, 'request')} "
        f"within {ms(server.within_ms)} from the request read to the answer written, through {through}{instead}; we "
        f"count {share(server.client_share or 0.0)} of {count(server.client_requests)} from the request sent to the "
        "answer read"
    )


def _difference(server: ServerCrossCheck, contradicts: bool) -> str:
    if contradicts:
        return "; the server alone breaks the limit, so one of the two measurements is wrong"
    if server.agreement != Agreement.DISAGREE.value:
        return ""
    difference = (server.server_share or 0.0) - (server.client_share or 0.0)
    where = (
        "the time is lost outside the gateway: on the network, before the gateway reads, or in the generator"
        if difference > 0.0
        else "the gateway counts time or requests that its clients do not see"
    )
    return (
        f"; they differ by {share(abs(difference))}, which is more than sampling error, without changing the answer: "
        f"{where}"
    )


def _needs(plan: Plan) -> Iterator[Need]:
    if plan.target.prometheus_url is not None:
        yield Need(PROMETHEUS, PROMETHEUS_NEEDS)


CRITERION = Criterion(
    name="gateway_p95_is_under_slo",
    short="p95",
    question="Is p95 of every tenant's executed calls within the limit, over the soak and in each five minutes of it?",
    rests_on=("soak",),
    judge=judge,
    cause_of_fail=slow_gateway,
    cause_of_open=few_samples,
    needs=_needs,
    outlook=outlook,
)
