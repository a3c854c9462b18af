"""The judged figures of a run as documents: what `latency.json`, `comparison.json` and their like hold.

Criteria compute them from evidence and the report writes them, so a file never shows another number than the one that
decided. Every latency is in milliseconds; `latency` counts from the intended start, `service` from the actual one.
"""

from __future__ import annotations

import msgspec

from soak_pipeline.model.stage_outputs import Drain, HistogramSource, IndependentChain, PlatformChain, PlatformReading
from soak_pipeline.model.verdict import Verdict


class Percentile(msgspec.Struct, frozen=True, kw_only=True):
    """One percentile with its interval.

    Attributes:
        value: the exact order statistic; None without a sample.
        lower, upper: two-sided 95 % interval; an end that the sample is too small for is None.
    """

    value: float | None
    lower: float | None
    upper: float | None


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """The three percentiles of one clock (ms)."""

    p50: Percentile
    p95: Percentile
    p99: Percentile


class LatencyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one tenant and kind in one phase.

    Attributes:
        phase, tenant, kind: which.
        requests: settled requests of any outcome.
        outcomes: requests by outcome.
        samples: those whose latency is counted: the right answer, or none at all (at the timeout, at least).
        unanswered: samples that got no whole answer.
        requests_per_second: over the judged part of the phase.
        latency_ms: from the intended start.
        service_ms: from the actual start.
    """

    phase: str
    tenant: str
    kind: str
    requests: int
    outcomes: dict[str, int]
    samples: int
    unanswered: int
    requests_per_second: float | None
    latency_ms: Percentiles
    service_ms: Percentiles


class LatencyWindow(msgspec.Struct, frozen=True, kw_only=True):
    """p95 of one tenant's executed calls in one window of the soak; times from the run's epoch (seconds)."""

    tenant: str
    start_s: float
    end_s: float
    samples: int
    latency_ms_p95: Percentile


class ServerCrossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The share of one tenant's soak requests within the limit, as the server and as the client count it.

    Attributes:
        within_ms: the bucket boundary at which both are counted.
        server_requests, client_requests: how many each side counted.
        server_share, client_share: share within the boundary (0..1); the server's from the request read to the answer
            written, the client's of service times.
        agreement: `agree`, `disagree` or `open`; None when a side is missing.
        source: where the server's count was read.
        unseen_s: longest stretch at an edge of the soak for which a Prometheus has no sample (seconds); None where
            none was asked.
        reason: why a side is missing, or why it was not read where the target file says.
    """

    tenant: str
    within_ms: float
    server_requests: int | None
    client_requests: int
    server_share: float | None
    client_share: float | None
    agreement: str | None
    source: HistogramSource = HistogramSource.METRICS_PAGES
    unseen_s: float | None = None
    reason: str = ""


class LatencyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`latency.json`.

    Attributes:
        limit_ms: the run's limit of the p95 of executed calls from the intended start.
        limit_ms_by_tenant: the same for each tenant, which may have its own; empty in files of older versions.
        judged_kind: the kind of request whose p95 is judged.
        rows: per phase, tenant and kind.
        windows: per tenant, the consecutive windows of the soak; one when it is shorter than two of them.
        server: the gateway's own histogram beside ours, per tenant.
    """

    run_id: str
    limit_ms: float
    limit_ms_by_tenant: dict[str, float] = {}
    judged_kind: str
    rows: tuple[LatencyRow, ...]
    windows: tuple[LatencyWindow, ...]
    server: tuple[ServerCrossCheck, ...]


class FairnessPair(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of windows of one tenant.

    Attributes:
        pair: its number, from 1.
        session: load session that carried it.
        first: the phase of its first window.
        samples_baseline, samples_burst: executed calls that were judged.
        latency_ms_p99_baseline, latency_ms_p99_burst: None where a window has too few samples.
        ratio: burst over baseline.
    """

    pair: int
    session: str
    first: str
    samples_baseline: int
    samples_burst: int
    latency_ms_p99_baseline: float | None
    latency_ms_p99_burst: float | None
    ratio: float | None


class PhaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant over all windows of one phase, pooled.

    Attributes:
        requests: requests sent, those while a window settles included.
        errors: those that did not get the right answer.
        error_share: errors / requests (0..1); None without a request.
        requests_per_second: over the windows.
        latency_ms, service_ms: percentiles of settled executed calls on both clocks.
    """

    requests: int
    errors: int
    error_share: float | None
    requests_per_second: float | None
    latency_ms: Percentiles
    service_ms: Percentiles


class LongBurst(msgspec.Struct, frozen=True, kw_only=True):
    """The unbroken burst against the baseline windows; ratio of the geometric means of sub-window p99s."""

    sub_windows: int
    latency_ms_p99: float | None
    ratio: float | None
    lower: float | None
    upper: float | None
    reason: str = ""


class RatioWithoutDrift(msgspec.Struct, frozen=True, kw_only=True):
    """The ratio of two long phases after removing a drift that they share, with its interval."""

    ratio: float
    lower: float
    upper: float


class TenantFairness(msgspec.Struct, frozen=True, kw_only=True):
    """One quiet tenant before and during the burst.

    Attributes:
        limit: largest allowed p99(burst) / p99(baseline) of this tenant; None in files of older versions.
        decision: `PASS`, `FAIL` or `OPEN` about its p99 ratio.
        ratio, lower, upper: geometric mean of the pairs' ratios (in classic order, of the phases' sub-windows), with
            the interval at `confidence`.
        confidence: of the interval, two-sided (0..1), at the look plan's level.
        without_drift: in classic order, whose decision needs both; None with pairs, in which drift falls out.
        p_value, p_value_holm: of "the ratio is at most the limit", plain and adjusted over the tenants.
        latency_ms_p99_baseline, latency_ms_p99_burst: geometric means over the pairs or sub-windows; their quotient is
            `ratio`.
        baseline, burst: pooled figures of each phase.
        error_share_rise, error_share_rise_lower, error_share_rise_upper: burst minus baseline.
        log_ratio_sd: spread of ln(ratio) over the pairs.
        pairs_needed: pairs at which a tenant without any effect would pass with a chance of 0.99.
        pairs: each pair.
        long_burst: None where none was planned.
        reason: why the decision is what it is.
    """

    tenant: str
    limit: float | None = None
    decision: str
    ratio: float | None
    lower: float | None
    upper: float | None
    confidence: float | None
    without_drift: RatioWithoutDrift | None = None
    p_value: float | None
    p_value_holm: float | None
    latency_ms_p99_baseline: float | None
    latency_ms_p99_burst: float | None
    baseline: PhaseSummary
    burst: PhaseSummary
    error_share_rise: float | None
    error_share_rise_lower: float | None
    error_share_rise_upper: float | None
    error_share_side: str | None
    log_ratio_sd: float | None
    pairs_needed: int | None
    pairs: tuple[FairnessPair, ...]
    long_burst: LongBurst | None
    reason: str


class Pressure(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the noisy tenant really pressed.

    Attributes:
        tenant: the noisy one.
        requests_per_second_baseline, requests_per_second_burst: answered (served or refused), over the windows.
        planned_baseline, planned_burst: the planned rates.
        rise_share: achieved rise over planned rise (0..1 and beyond).
        unanswered_share_burst: its requests in the burst without an answer (0..1).
    """

    tenant: str
    requests_per_second_baseline: float | None
    requests_per_second_burst: float | None
    planned_baseline: float
    planned_burst: float
    rise_share: float | None
    unanswered_share_burst: float | None


class FairnessDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`comparison.json`.

    Attributes:
        order: `abba` or `classic`.
        limit: largest allowed p99(burst) / p99(baseline) of a tenant without a limit of its own.
        looks, looks_planned: cumulative pairs at the looks that were taken, and at all planned ones.
        pressure: of the noisy tenant.
        tenants: the quiet ones, in the plan's order.
    """

    run_id: str
    order: str
    limit: float
    looks: tuple[int, ...]
    looks_planned: tuple[int, ...]
    pressure: Pressure
    tenants: tuple[TenantFairness, ...]

    def limit_of(self, tenant: TenantFairness) -> float:
        """The limit of one tenant's ratio."""
        return self.limit if tenant.limit is None else tenant.limit


class TenantChain(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant in `chain_verify.json`: the platform's answer, our own, and the verdict."""

    tenant: str
    verdict: Verdict
    why: str
    platform: PlatformChain | None
    independent: IndependentChain | None
    reason: str = ""


class ChainDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`chain_verify.json`."""

    run_id: str
    verdict: Verdict
    tenants: tuple[TenantChain, ...]


class TenantReconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant in `reconcile.json`; counts as in `ReconcileEvidence`."""

    tenant: str
    verdict: Verdict
    why: str
    billable_audit_rows: int | None
    usage_rows: int | None
    audit_without_usage: int | None
    usage_without_audit: int | None
    billed_twice: int | None
    outbox_pending: int | None
    outbox_failed: int | None
    samples: tuple[str, ...]
    reason: str = ""


class ReconcileDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`reconcile.json`.

    Attributes:
        converged_s: from the end of the load until the pipelines were empty (seconds); None when they never were.
        drain: how they drained.
        readings: every reading of the platform, oldest first: whether and when it converged.
        dead_letters: entries by queue; None when they could not be read.
    """

    run_id: str
    verdict: Verdict
    converged_s: float | None
    drain: Drain | None
    readings: tuple[PlatformReading, ...] = ()
    dead_letters: dict[str, int] | None
    tenants: tuple[TenantReconciliation, ...]
