"""Criterion: while one tenant presses, the others stay as quick and as error-free as before.

Claim: for each quiet tenant, p99 of executed calls from the intended start rises in the burst by no more than the
limit, and so does its share of errors. Windows with and without the burst alternate in ABBA order, so that drift falls
out; each pair of neighbours gives a ratio, and the interval of their geometric mean decides: PASS when its upper end is
within the limit, FAIL when its lower end is beyond it after Holm's correction over the tenants. Pairs are added look by
look while the answer is open, at a level that is corrected for the looks.

Validity guard: the noisy tenant really pressed (its answered rate rose as planned), every window has enough samples,
and the generator was fit to measure; else a FAIL becomes INCONCLUSIVE. A queue that builds up slowly hides from short
windows, so one long unbroken burst is compared with the baseline windows as well. Drift would look the same there, so
beyond the limit it is INCONCLUSIVE rather than FAIL; within or across it, the pairs alone decide.

Source: the multi-tenant fairness test of CockroachDB's roachtest for the guard; ABBA and Holm as in any paired trial.
"""

from __future__ import annotations

import msgspec

from soak_pipeline.analysis.decision import AT_LIMIT_TOLERANCE, Decision, Side
from soak_pipeline.criteria.criterion import Criterion
from soak_pipeline.criteria.fairness.causes import ERRORS, PRESSURE, no_pressure, unfair
from soak_pipeline.criteria.fairness.outlook import outlook
from soak_pipeline.criteria.fairness.tables import fairness_document
from soak_pipeline.criteria.generator_health import generator_trouble
from soak_pipeline.criteria.results import conclude, stage_missing
from soak_pipeline.criteria.sources import REQUESTS
from soak_pipeline.criteria.wording import count, ms, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.run_folder import COMPARISON_FILE
from soak_pipeline.model.documents import FairnessDocument, Pressure, TenantFairness
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_least, at_most

_VERDICT = {Decision.PASS: Verdict.PASS, Decision.FAIL: Verdict.FAIL, Decision.OPEN: Verdict.INCONCLUSIVE}
_VERDICT_OF_SIDE = {Side.BELOW: Verdict.PASS, Side.ABOVE: Verdict.FAIL, Side.OPEN: Verdict.INCONCLUSIVE}


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges every quiet tenant, and whether the burst was one; see the module's test plan."""
    files = [COMPARISON_FILE, REQUESTS]
    for stage in ("baseline", "burst"):
        if getattr(evidence, stage) is None:
            return stage_missing(evidence, CRITERION, stage, files)
    document = fairness_document(evidence)
    trouble = _trouble(evidence)
    findings = [_pressure_finding(evidence, document.pressure)]
    for tenant in document.tenants:
        findings += [
            _excused(_ratio_finding(evidence, document, tenant), trouble),
            _error_finding(evidence, tenant),
            *_long_burst_findings(document, tenant),
        ]
    worst = max(document.tenants, key=lambda tenant: (tenant.ratio or 0.0) / document.limit_of(tenant))
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=at_most(document.limit, "ratio"),
        passed=f"p99 of every quiet tenant held during the burst; the largest rise is tenant {worst.tenant}'s, "
        f"{_times(worst.ratio)} (interval {_range(worst.lower, worst.upper)}), limit {document.limit_of(worst):.2f}x",
        files=files,
    )


def _trouble(evidence: RunEvidence) -> str:
    sessions = [*(evidence.baseline.sessions if evidence.baseline else ())]
    sessions += [*(evidence.burst.sessions if evidence.burst else ())]
    return generator_trouble(sessions, evidence.thresholds)


def _excused(finding: Finding, trouble: str) -> Finding:
    if finding.verdict is not Verdict.FAIL or not trouble:
        return finding
    why = f"{finding.why}; but {trouble}, so the figure does not accuse the platform"
    return msgspec.structs.replace(finding, verdict=Verdict.INCONCLUSIVE, why=why)


def _ratio_finding(evidence: RunEvidence, document: FairnessDocument, tenant: TenantFairness) -> Finding:
    verdict = _VERDICT[Decision(tenant.decision)]
    subject = f"tenant {tenant.tenant}"
    figures: dict[str, float | int | str | None] = {
        "latency_ms_p99_baseline": tenant.latency_ms_p99_baseline,
        "latency_ms_p99_burst": tenant.latency_ms_p99_burst,
        "pairs": len(tenant.pairs),
        "p_value": tenant.p_value,
        "p_value_holm": tenant.p_value_holm,
        "log_ratio_sd": tenant.log_ratio_sd,
        "pairs_needed": tenant.pairs_needed,
        "service_ms_p99_baseline": tenant.baseline.service_ms.p99.value,
        "service_ms_p99_burst": tenant.burst.service_ms.p99.value,
    }
    if tenant.ratio is None or tenant.latency_ms_p99_baseline is None or tenant.latency_ms_p99_burst is None:
        why = f"tenant {tenant.tenant}: its p99 before and during the burst cannot be compared: {tenant.reason}"
    else:
        rose = "rose" if tenant.ratio >= 1.0 else "changed"
        confidence = round(100 * (tenant.confidence or 0.0))
        why = (
            f"tenant {tenant.tenant} p99 {rose} {_times(tenant.ratio)} during burst "
            f"({ms(tenant.latency_ms_p99_baseline)} -> {ms(tenant.latency_ms_p99_burst)}, {confidence} % interval "
            f"{_range(tenant.lower, tenant.upper)}), limit {document.limit_of(tenant):.2f}x"
        )
        why += (
            f": {tenant.reason}{_pairs_short(tenant)}; see {COMPARISON_FILE}"
            if verdict is Verdict.INCONCLUSIVE
            else f"; see {COMPARISON_FILE}"
        )
    return Finding(
        subject=subject,
        verdict=verdict,
        observed=tenant.ratio,
        limit=at_most(document.limit_of(tenant), "ratio"),
        interval=None if tenant.ratio is None else (tenant.lower, tenant.upper),
        why=why,
        figures=figures,
    )


def _pairs_short(tenant: TenantFairness) -> str:
    """How many pairs would have decided for a tenant that is not harmed; empty where more of them would not help."""
    used = sum(1 for pair in tenant.pairs if pair.ratio is not None)
    if tenant.log_ratio_sd is None or used < len(tenant.pairs):
        return ""
    if tenant.pairs_needed is None:
        return f"; pairs vary so much that hundreds would not decide, {count(used, 'pair')} were run"
    if tenant.pairs_needed <= used:
        return (
            f"; {count(tenant.pairs_needed, 'pair')} were enough for a tenant without any rise, {count(used)} were run"
        )
    return f"; about {count(tenant.pairs_needed, 'pair')} were needed to clear it, {count(used)} were run"


def _error_finding(evidence: RunEvidence, tenant: TenantFairness) -> Finding:
    subject = f"tenant {tenant.tenant} errors"
    limit = evidence.thresholds_of(tenant.tenant).fairness_error_share_rise_max
    before, during = tenant.baseline, tenant.burst
    figures: dict[str, float | int | str | None] = {
        "error_share_baseline": before.error_share,
        "error_share_burst": during.error_share,
        "requests_baseline": before.requests,
        "requests_burst": during.requests,
    }
    if tenant.error_share_side is None or before.error_share is None or during.error_share is None:
        verdict, why = Verdict.INCONCLUSIVE, f"tenant {tenant.tenant}: no requests before or during the burst"
    else:
        verdict = _VERDICT_OF_SIDE[Side(tenant.error_share_side)]
        why = (
            f"tenant {tenant.tenant}: errors went from {share(before.error_share)} of {count(before.requests)} to "
            f"{share(during.error_share)} of {count(during.requests, 'request')} during burst "
            f"(95 % interval of the rise {share(tenant.error_share_rise_lower or 0.0)} to "
            f"{share(tenant.error_share_rise_upper or 0.0)}), "
            f"limit {share(limit)}"
        )
    return Finding(
        subject=subject,
        about=ERRORS,
        verdict=verdict,
        observed=tenant.error_share_rise,
        limit=at_most(limit, "share"),
        interval=None
        if tenant.error_share_rise is None
        else (tenant.error_share_rise_lower, tenant.error_share_rise_upper),
        why=why,
        figures=figures,
    )


def _long_burst_findings(document: FairnessDocument, tenant: TenantFairness) -> list[Finding]:
    burst = tenant.long_burst
    if burst is None:
        return []
    subject = f"tenant {tenant.tenant} long burst"
    if burst.ratio is None or burst.lower is None or burst.latency_ms_p99 is None:
        why = f"tenant {tenant.tenant}: the long burst cannot be compared with the baseline: {burst.reason}"
        limit = at_most(document.limit_of(tenant), "ratio")
        return [Finding(subject=subject, verdict=Verdict.INCONCLUSIVE, limit=limit, why=why)]
    beyond = burst.lower > document.limit_of(tenant) * (1.0 + AT_LIMIT_TOLERANCE)
    shown = "over" if beyond else "not shown to be over"
    why = (
        f"tenant {tenant.tenant} p99 was {ms(burst.latency_ms_p99)} in the long burst, {_times(burst.ratio)} of the "
        f"baseline windows (90 % interval {_range(burst.lower, burst.upper)}), {shown} {document.limit_of(tenant):.2f}x"
    )
    if beyond:
        why += "; a queue that builds up slowly would look like this, and so would drift"
    return [
        Finding(
            subject=subject,
            verdict=Verdict.INCONCLUSIVE if beyond else Verdict.PASS,
            unit="ratio",
            interval=(burst.lower, burst.upper),
            why=why,
            # No `observed`: against one burst that follows all the baseline, the limit holds the interval's lower end.
            figures={"ratio": burst.ratio, "latency_ms_p99": burst.latency_ms_p99},
        )
    ]


def _pressure_finding(evidence: RunEvidence, pressure: Pressure) -> Finding:
    limit = evidence.thresholds.fairness_pressure_share_min
    subject = f"tenant {pressure.tenant} pressure"
    before, during = pressure.requests_per_second_baseline, pressure.requests_per_second_burst
    figures: dict[str, float | int | str | None] = {
        "requests_per_second_baseline": before,
        "requests_per_second_burst": during,
        "planned_requests_per_second_baseline": pressure.planned_baseline,
        "planned_requests_per_second_burst": pressure.planned_burst,
        "unanswered_share_burst": pressure.unanswered_share_burst,
    }
    if pressure.rise_share is None or before is None or during is None:
        verdict, why = Verdict.INCONCLUSIVE, f"noisy tenant {pressure.tenant} has no answered requests to compare"
    else:
        pressed = pressure.rise_share >= limit * (1.0 - AT_LIMIT_TOLERANCE)
        verdict = Verdict.PASS if pressed else Verdict.INCONCLUSIVE
        why = (
            f"noisy tenant {pressure.tenant} went from {before:,.1f} to {during:,.1f} answered requests/s in burst, "
            f"{share(pressure.rise_share)} of the planned rise, at least {share(limit)} needed"
        )
        why += "" if pressed else "; so the quiet tenants were not put to the test"
    return Finding(
        subject=subject,
        about=PRESSURE,
        verdict=verdict,
        observed=pressure.rise_share,
        limit=at_least(limit, "share"),
        why=why,
        figures=figures,
    )


def _times(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{ratio:.2f}x"


def _range(lower: float | None, upper: float | None) -> str:
    return f"{lower:.2f}-{upper:.2f}" if lower is not None and upper is not None else "unknown"


CRITERION = Criterion(
    name="quiet_tenants_are_protected",
    short="fairness",
    question="Do the quiet tenants keep their p99 and their error share while the noisy tenant presses?",
    rests_on=("baseline", "burst"),
    judge=judge,
    cause_of_fail=unfair,
    cause_of_open=no_pressure,
    outlook=outlook,
)
