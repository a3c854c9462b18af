"""Likely causes of quiet tenants that suffer, and of a comparison that stays open."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.criterion import Diagnosis
from soak_pipeline.criteria.generator_health import unfit_generator
from soak_pipeline.criteria.host import beside_a_busy_host, busy_host
from soak_pipeline.criteria.wording import count, ms, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding

PRESSURE, ERRORS = "pressure", "errors"
"""What a finding is about (`Finding.about`); the rest is about p99."""


def unfair(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Quiet tenants that suffer in the burst."""
    return beside_a_busy_host(evidence, _unfair(evidence, findings))


def _unfair(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    noisy = evidence.plan.noisy_tenant.name
    if all(finding.about == ERRORS for finding in findings):
        return Diagnosis(
            "limit_shared",
            f"Quiet tenants are refused or fail while tenant {noisy} presses: a limit that is shared by all "
            "tenants, or a pool that the noisy one exhausts.",
            "Check for global rate limits and shared pools; give each tenant its own bucket and its own share of "
            "slots.",
        )
    return Diagnosis(
        "sharing_unfair",
        f"Tenant {noisy} takes more than its share{_burst_in_figures(evidence, findings)}: gateway slots or "
        f"database connections are handed out first come, first served, or tenant {noisy}'s rate limit is above "
        "what the platform can isolate.",
        f"Limit the gateway's concurrency per tenant (fair sharing), or lower tenant {noisy}'s rpm_limit; then "
        "run again.",
    )


def _burst_in_figures(evidence: RunEvidence, findings: Sequence[Finding]) -> str:
    """What the noisy tenant was let do and what the worst quiet one suffered, in brackets."""
    worst = max(
        (finding for finding in findings if finding.figures.get("latency_ms_p99_burst") is not None),
        key=lambda finding: finding.observed or 0.0,
        default=None,
    )
    fairness, noisy = evidence.plan.profile.fairness, evidence.plan.noisy_tenant
    limit = (
        f"tenant {noisy.name} pressed with {fairness.noisy_users_burst / fairness.noisy_pace_s:,.0f} requests/s, its "
        f"limit is {count(noisy.rpm_limit)} a minute"
    )
    if worst is None:
        return f" ({limit})"
    before, during = (float(worst.figures[f"latency_ms_p99_{phase}"] or 0.0) for phase in ("baseline", "burst"))
    return f" ({worst.subject}'s p99 went from {ms(before)} to {ms(during)}; {limit})"


def no_pressure(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    """A host without CPU, an unfit generator, a noisy tenant that never pressed, or windows too noisy to tell."""
    if busy := busy_host(evidence, (evidence.baseline, evidence.burst)):
        return busy
    if unfit := unfit_generator(evidence, (evidence.baseline, evidence.burst)):
        return unfit
    noisy = evidence.plan.noisy_tenant.name
    pressure = next((finding for finding in findings if finding.about == PRESSURE), None)
    if pressure is not None:
        achieved = "none" if pressure.observed is None else share(pressure.observed)
        return Diagnosis(
            "noisy_tenant_never_pressed",
            f"Tenant {noisy} did not press: {achieved} of the planned rise was answered.",
            f"Check tenant {noisy}'s limits and the load generator's capacity; run again.",
        )
    return Diagnosis(
        "windows_vary",
        "The windows vary too much, or hold too few calls, for the interval to be on one side of the limit.",
        "Run again when nothing else uses the host; where it stays open, take a larger profile (--profile: longer "
        "windows, more pairs), or ten minutes of baseline and of burst (--fairness-order classic).",
    )
