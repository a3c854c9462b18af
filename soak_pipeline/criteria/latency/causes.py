"""Likely causes of slow answers, and of a percentile that stays open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from soak_pipeline.criteria.criterion import Diagnosis, total
from soak_pipeline.criteria.generator_health import unfit_generator
from soak_pipeline.criteria.host import beside_a_busy_host, busy_host
from soak_pipeline.criteria.latency.samples import latency_groups
from soak_pipeline.criteria.wording import count, listed, ms
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline.model.verdict import Finding

PROMETHEUS = "Prometheus"
"""What the finding on the platform's own view is about (`Finding.about`), and its subject."""

QUARTERS = 4
FEWEST_OF_A_QUARTER = 30
DRIFT_RATIO = 1.5
HANGING_SHARE = 0.01
"""Of the executed calls without an answer, from which on they explain a slow p95: a fifth of the calls beyond it."""


def slow_gateway(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """p95 beyond its limit."""
    return beside_a_busy_host(evidence, _slow(evidence, findings))


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


def few_samples(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """An unfit generator, a Prometheus that was away, a host without CPU, or an interval that straddles the limit."""
    if unfit := unfit_generator(evidence, (evidence.soak,)):
        return unfit
    if findings[0].about == PROMETHEUS:
        return Diagnosis(
            "prometheus_lost",
            "The target's Prometheus was away, or did not scrape the gateway, during the soak.",
            "Where it has the soak by now, materialise platform_evidence again; else mend it and run again.",
        )
    if busy := busy_host(evidence, (evidence.soak,)):
        return busy
    return Diagnosis(
        "too_few_samples",
        "There were too few executed calls, or p95 is too near its limit, for the interval to be on one side.",
        "Run longer or with more users; where the generator or the server's histogram is named, mend that first.",
    )
