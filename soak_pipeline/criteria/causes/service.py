"""Causes that show in what the platform answers, and in what it uses: latency, fairness, leaks, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from soak_pipeline.criteria.causes.figures import Diagnosis, total
from soak_pipeline.criteria.host import host_mean
from soak_pipeline.criteria.latency_samples import latency_groups
from soak_pipeline.criteria.wording import count, listed, ms, quantity, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline.model.verdict import Finding

QUARTERS = 4
FEWEST_OF_A_QUARTER = 30
DRIFT_RATIO = 1.5
HANGING_SHARE = 0.01
"""Of the executed calls without an answer, from which on they explain a slow p95: a fifth of the calls beyond it."""

BUSY_IDLE_SHARE = 0.05
"""A host with less of its CPU idle than this (mean over the soak) had none left for a while."""


def slow_gateway(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """p95 beyond its limit."""
    return _beside_a_busy_host(evidence, _slow(evidence, findings))


def _slow(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    tenants = [finding.subject for finding in findings]
    service = max(
        (float(value) for f in findings if isinstance(value := f.figures.get("service_ms_p95"), float)), default=0
    )
    latency = max((finding.observed or 0.0 for finding in findings), default=0.0)
    unanswered = total(findings, "unanswered")
    if unanswered and unanswered >= HANGING_SHARE * total(findings, "samples"):
        return Diagnosis(
            "calls_hang",
            f"{count(unanswered, 'call')} got no answer within the timeout: calls hang behind an exhausted pool or "
            "lock.",
            "Look at pool waiters and gateway slots at that time, and at slow statements of the databases.",
        )
    if quarters := _rising_quarters(evidence):
        return Diagnosis(
            "latency_drifts",
            f"Calls take longer and longer: the median was {', '.join(map(ms, quarters))} in the quarters of the soak.",
            "Look for what grows with time or with the rows written: queues, tables, caches that no longer fit.",
        )
    if service and latency > 1.5 * service:
        return Diagnosis(
            "platform_stalls",
            f"The platform stalls now and then: from the intended start p95 is {ms(latency)}, from the actual start "
            f"{ms(service)}; calls wait behind others.",
            "Look for pauses (garbage collection, checkpoints, locks) at the times of the worst window.",
        )
    if len(tenants) < len(evidence.plan.tenants):
        return Diagnosis(
            "tenant_held_back",
            f"Only {listed(tenants)} {'is' if len(tenants) == 1 else 'are'} slow: that tenant's limit, its data or its "
            "share of the gateway's slots holds it back.",
            "Compare rate-limit and queue figures of that tenant with the others, and slow queries on its rows.",
        )
    return Diagnosis(
        "gateway_saturated",
        "The gateway is saturated: every tenant is slow.",
        "Look at the gateway's CPU and slots, and at pool waiters; add gateway workers or lower the load.",
    )


def _beside_a_busy_host(evidence: RunEvidence, diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis, and the word that the machine may be at fault where it had no CPU left."""
    idle, load = host_mean(evidence, "cpu_idle_share"), host_mean(evidence, "load_average")
    if idle is None or idle >= BUSY_IDLE_SHARE:
        return diagnosis
    waiting = "" if load is None else f", load average {load:.1f}"
    return diagnosis._replace(
        likely_cause=f"{diagnosis.likely_cause} But the machine that sent the load had {share(idle)} of its CPU idle "
        f"in the soak{waiting}; if the platform runs there too, it had to wait as well.",
        fix=f"See first what else ran on that machine, and run again without it. {diagnosis.fix}",
    )


def _rising_quarters(evidence: RunEvidence) -> list[float]:
    """Median latency of executed calls (ms) in the quarters of the soak, where each is slower than the one before it
    and the last by half at least than the first; else empty."""
    groups = latency_groups(evidence, (Phase.SOAK,), (Kind.ALLOWED,))
    times_s = np.concatenate([group.times_s for group in groups])
    latency_ms = np.concatenate([group.latency_ms for group in groups])
    edges = np.linspace(times_s.min(), times_s.max(), QUARTERS + 1)
    quarter = np.clip(np.searchsorted(edges, times_s, side="right") - 1, 0, QUARTERS - 1)
    parts = [latency_ms[quarter == number] for number in range(QUARTERS)]
    if not all(len(part) >= FEWEST_OF_A_QUARTER for part in parts):
        return []
    medians = [float(np.median(part)) for part in parts]
    rises = all(later > earlier for earlier, later in pairwise(medians))
    return medians if rises and medians[-1] >= DRIFT_RATIO * medians[0] else []


def unfair(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Quiet tenants that suffer in the burst."""
    return _beside_a_busy_host(evidence, _unfair(evidence, findings))


def _unfair(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    noisy = evidence.plan.noisy_tenant.name
    if all(finding.unit == "share" for finding in findings):
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


def leaks(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """A resource that grows, or a process that restarted."""
    restarted = [finding for finding in findings if finding.unit == "restarts"]
    if len(restarted) == len(findings):
        return Diagnosis(
            "process_restarted",
            f"{listed(finding.subject.removesuffix(' restarts') for finding in restarted)} crashed or was restarted.",
            "Look for its exit in the process log and for the kernel's out-of-memory messages, then run again.",
        )
    growing = next(finding for finding in findings if finding.unit != "restarts")
    owner, _, series = growing.subject.rpartition(" ")
    fixes = {
        "rss_bytes": "Take heap snapshots of that process an hour apart and compare; look for caches without a bound.",
        "uss_bytes": "Take heap snapshots of that process an hour apart and compare; look for caches without a bound.",
        "gc_share": "Count the objects that the collector tracks, by type, an hour apart; what grows is what it walks.",
        "open_fds": "List the process's open files and sockets (/proc/PID/fd) and look for what is never closed.",
        "threads": "List the process's threads by name; look for executors that are created per request.",
        "db_connections": "Look in pg_stat_activity for idle connections, by application_name; close what is opened.",
        "db_connections_idle_in_transaction": "Look in pg_stat_activity for the query after which they wait: its "
        "commit or rollback is missing on some path.",
        "table_bytes": "Look for a transaction that holds vacuum back (xact_start in pg_stat_activity), and whether "
        "rows go once they are done with.",
        "redis_keys": "Sample keys by prefix for those without a time to live, and give them one.",
        "redis_memory_bytes": "Sample keys by size (MEMORY USAGE) and prefix; give them a time to live or a bound.",
        "retries_per_request": "Find the call that is retried, and why it fails the first time more and more often.",
    }
    queues = "Its consumer is slower than the load: compare arrival and service rate, and give it more workers."
    return Diagnosis(
        # Memory of its own is part of the resident memory: one cause, whichever of the two grows faster.
        f"{'rss_bytes' if series == 'uss_bytes' else series}_grows",
        f"{owner} keeps what it should give back: {series} grows{_rate(growing)} all along the soak.",
        fixes.get(series, queues),
    )


def _rate(growing: Finding) -> str:
    slope = growing.figures.get("slope_per_hour")
    return f" by {quantity(float(slope), growing.unit)} per hour" if isinstance(slope, int | float) else ""


def wrong_decisions(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Wrong decisions, or too many errors."""
    if total(findings, "wrongly_allowed"):
        return Diagnosis(
            "attack_allowed",
            "A call that policy must deny was executed: a rule is missing, a cache answered for another caller, or the "
            "policy engine fails open.",
            "Replay the operation named, with the request id in errors.log, against the policy; check what happens "
            "when the policy engine does not answer. Do not promote.",
        )
    if total(findings, "wrongly_denied"):
        return Diagnosis(
            "call_denied",
            "Legitimate calls were refused: an agent was quarantined, a permission was lost, or tokens ended early.",
            "Look up the reason of the denial in the audit row of the request named in errors.log.",
        )
    if total(findings, "client_error"):
        return Diagnosis(
            "call_called_malformed",
            "The platform calls well-formed requests malformed, or an endpoint is gone.",
            "Compare status and body of the sample in errors.log with the interface; check the target's dialect.",
        )
    outcomes = ("server_error", "timeout", "transport_error", "throttled", "malformed")
    kinds = {outcome: total(findings, outcome) for outcome in outcomes}
    most = max(kinds, key=lambda outcome: kinds[outcome])
    causes = {
        "server_error": Diagnosis(
            "server_errors",
            "Part of the platform fails under load.",
            "Look up the samples of errors.log in the gateway's log.",
        ),
        "timeout": Diagnosis(
            "calls_hang", "Calls hang.", "Look at pool waiters and locks at the times that errors.log gives."
        ),
        "transport_error": Diagnosis(
            "connections_break",
            "Connections end before the answer is whole.",
            "Look for restarts of gateway processes, and for answers that are shorter than their Content-Length.",
        ),
        "throttled": Diagnosis(
            "limit_too_low",
            "A rate limit is lower than the planned load, or is shared between tenants.",
            "Check rpm_limit and requests_per_second of the tenant, and limits that are not per tenant.",
        ),
        "malformed": Diagnosis(
            "bodies_broken",
            "Answers are cut short or rewritten on the way.",
            "Fetch the sample of errors.log again by hand; look for redaction that keeps the old Content-Length.",
        ),
    }
    return causes[most]
