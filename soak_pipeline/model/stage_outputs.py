"""The typed outputs of the stages; each is one JSON file of the run folder.

A field that is None was not measured, and its neighbour `reason` or `problems` says why; a criterion turns it into
INCONCLUSIVE.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from soak_pipeline.model.preview import Expectation
from soak_pipeline.model.verdict import Verdict


class StageStatus(StrEnum):
    """How a load stage ended: as planned, cut short (lease, operator), or with the generator failing."""

    COMPLETE = "complete"
    CUT_SHORT = "cut_short"
    FAILED = "failed"


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one thing can be measured on this target, found at preflight.

    Attributes:
        name: such as `database.audit`, `redis`, `metrics`, `operator_credentials`.
        available: whether it can.
        reason: why not; empty when available.
    """

    name: str
    available: bool
    reason: str = ""


class ProvisionedTenant(msgspec.Struct, frozen=True, kw_only=True):
    """What was created for one tenant; no secret: passwords are derived again from the operator's credential.

    Attributes:
        name, tenant_id: as planned.
        user_email: the account with which the virtual users log in.
        benign_agents, attack_agents: agent ids; attacks never use a benign agent.
        fanout_agents: agent ids of the fan-out, empty for the other tenants.
    """

    name: str
    tenant_id: str
    user_email: str
    benign_agents: tuple[str, ...]
    attack_agents: tuple[str, ...]
    fanout_agents: tuple[str, ...] = ()


class ProvisionedRun(msgspec.Struct, frozen=True, kw_only=True):
    """Output of `provision`.

    Attributes:
        run_id, plan_hash: which plan.
        tenants: in the plan's order.
        capabilities: what the target lets us measure.
        clock_skew_s: the platform's clock minus ours at preflight (seconds); None when it gave none.
        provisioned_at: UTC, ISO 8601.
        gateway_addresses: of the gateway's name when the run began; its load goes there and nowhere else.
        preview: what this size can decide on this target, as computed before the load; empty for runs from before
            there was one.
    """

    run_id: str
    plan_hash: str
    tenants: tuple[ProvisionedTenant, ...]
    capabilities: tuple[Capability, ...]
    clock_skew_s: float | None
    provisioned_at: str
    gateway_addresses: tuple[str, ...] = ()
    preview: tuple[Expectation, ...] = ()


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one load worker says of itself at the end of a session.

    Attributes:
        worker: index.
        sent: requests sent, by tenant.
        due: requests that the schedule wanted sent, by tenant.
        loop_lag_ms_p99: lateness of its event loop (ms); None when it died before saying.
        cpu_share_max: highest CPU share of one core over any telemetry interval.
        rss_bytes_start, rss_bytes_end: resident memory.
        lost: true when it stopped before the end of the session.
    """

    worker: int
    sent: dict[str, int]
    due: dict[str, int]
    loop_lag_ms_p99: float | None
    cpu_share_max: float | None
    rss_bytes_start: int | None
    rss_bytes_end: int | None
    lost: bool


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one load session went; written by the supervisor.

    Attributes:
        name: of the session.
        status: see `StageStatus`.
        reason: why it is not complete; empty when it is.
        zero_us: time zero of its windows, microseconds since the plan's epoch; None when it never began.
        ended_us: when the last request was sent or given up, same clock.
        workers: one report per load worker.
        request_files: Parquet files in `requests/`, relative to the run folder.
        records: rows in them.
    """

    name: str
    status: StageStatus
    reason: str
    zero_us: int | None
    ended_us: int | None
    workers: tuple[WorkerReport, ...]
    request_files: tuple[str, ...]
    records: int


class PhaseEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Output of `baseline`, `burst` and `soak`.

    Attributes:
        phase: `baseline`, `burst` or `soak`.
        status, reason: worst over the sessions.
        sessions: the load sessions that carried windows of this phase.
        looks: how many looks at the fairness question were taken (0 for the soak).
    """

    phase: str
    status: StageStatus
    reason: str
    sessions: tuple[SessionReport, ...]
    looks: int = 0


class RevocationEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One agent that lost and regained its permission in the fan-out.

    Attributes:
        agent_id: which agent.
        calls_while_revoked, allowed_while_revoked: calls begun after the revocation was acknowledged, and how many
            of them were served (must be 0).
        calls_after_regrant, denied_after_regrant: calls begun after the re-grant was acknowledged, and how many of
            them were refused (must be 0).
    """

    agent_id: str
    calls_while_revoked: int
    allowed_while_revoked: int
    calls_after_regrant: int
    denied_after_regrant: int


class FanoutEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Output of `agent_fanout`.

    Attributes:
        status, reason: as in `PhaseEvidence`.
        tenant: name of the tenant.
        agents: agents that called at once.
        calls: calls sent; the records are in `requests/` under the session `fanout`.
        unanswered: calls without an answer within the timeout (a deadlock shows here).
        revocations: per revoked agent.
        session: the supervised load session.
    """

    status: StageStatus
    reason: str
    tenant: str
    agents: int
    calls: int
    unanswered: int
    revocations: tuple[RevocationEvidence, ...]
    session: SessionReport | None


class SilencedTenant(msgspec.Struct, frozen=True, kw_only=True):
    """How one tenant was blocked and what the probe saw afterwards.

    Attributes:
        name: of the tenant.
        blocked: whether the platform acknowledged the stop lever.
        probe_calls: calls sent with the tenant's own valid token after the acknowledgement.
        probe_allowed: how many of them were served (must be 0).
        probe_statuses: HTTP status -> count.
        reason: why it is not blocked or not probed; empty when it is.
    """

    name: str
    blocked: bool
    probe_calls: int
    probe_allowed: int
    probe_statuses: dict[str, int]
    reason: str = ""


class TeardownReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """Output of `teardown`.

    Attributes:
        tenants: per tenant.
        lever: the stop lever that was used.
        load_stopped_us: when the last load process had ended, microseconds since the plan's epoch.
        blocked_us: when the last tenant's block was acknowledged, same clock.
        audit_rows_after_block: audit rows of executed calls of soak tenants, later than the block and not the
            probe's; None when the database cannot be read.
    """

    tenants: tuple[SilencedTenant, ...]
    lever: str
    load_stopped_us: int
    blocked_us: int | None
    audit_rows_after_block: int | None = None


class PlatformChain(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's own answer about one tenant's chain."""

    valid: bool
    processed_count: int
    error_count: int
    violations: int


class IndependentChain(msgspec.Struct, frozen=True, kw_only=True):
    """Our own verification of one tenant's chain from its rows.

    Attributes:
        rows: audit rows read.
        tampered: rows whose hash is not that of their content.
        gaps: rows whose previous hash is not the hash of the row before.
        forks: previous hashes that more than one row names.
        duplicate_requests: request ids with more than one row.
        out_of_order: rows whose timestamp is before that of the row before them in the chain.
        acknowledged: requests of ours that must have left a row.
        acknowledged_missing: how many of them have none.
        samples: a few violations in words.
    """

    rows: int
    tampered: int
    gaps: int
    forks: int
    duplicate_requests: int
    out_of_order: int
    acknowledged: int
    acknowledged_missing: int
    samples: tuple[str, ...] = ()


class ChainEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's chain as the platform sees it and as we do; `reason` says why a side is None."""

    tenant: str
    platform: PlatformChain | None
    independent: IndependentChain | None
    reason: str = ""


class ReconcileEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's audit against its usage, after the drain.

    Attributes:
        tenant: its name.
        billable_audit_rows, usage_rows: counts; None when not readable.
        audit_without_usage, usage_without_audit: request ids that only one side has.
        billed_twice: request ids with more than one usage row.
        outbox_pending, outbox_failed: rows left in the outbox.
        samples: a few request ids of gaps.
        reason: why a count is None.
    """

    tenant: str
    billable_audit_rows: int | None = None
    usage_rows: int | None = None
    audit_without_usage: int | None = None
    usage_without_audit: int | None = None
    billed_twice: int | None = None
    outbox_pending: int | None = None
    outbox_failed: int | None = None
    samples: tuple[str, ...] = ()
    reason: str = ""


class TimelineEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's flight timelines of the run, by status; None when not readable."""

    tenant: str
    total: int | None = None
    in_progress: int | None = None
    recovered_backfill: int | None = None
    reason: str = ""


class RootEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's transparency root of one UTC day.

    Attributes:
        tenant, root_date: which.
        present: whether the platform has the root.
        leaf_count: what the root says it covers.
        audit_rows: the audit rows of that day, counted by us; None when not readable.
        covers_last_row: whether the root's window reaches the last audit row of the day.
        signature_valid: checked by us with the published key; None when not checkable.
        root_hash_matches: recomputed by us from the rows; None when not recomputed.
        reason: why something is None.
    """

    tenant: str
    root_date: str
    present: bool
    leaf_count: int | None = None
    audit_rows: int | None = None
    covers_last_row: bool | None = None
    signature_valid: bool | None = None
    root_hash_matches: bool | None = None
    reason: str = ""


class GraphEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The fan-out tenant's identity graph.

    Attributes:
        agent_nodes, expected_agent_nodes: nodes of the fan-out's agents, and agents that made an allowed call.
        duplicate_nodes: (type, external id) pairs with more than one node.
        duplicate_edges: request ids with more than one edge.
        missing_edges: allowed fan-out calls without an edge.
    """

    tenant: str
    agent_nodes: int | None = None
    expected_agent_nodes: int | None = None
    duplicate_nodes: int | None = None
    duplicate_edges: int | None = None
    missing_edges: int | None = None
    reason: str = ""


class HistogramSource(StrEnum):
    """Where the gateway's latency histogram was read: a Prometheus that stored it, or the pages at each sample."""

    PROMETHEUS = "prometheus"
    METRICS_PAGES = "metrics_pages"


class ServerLatency(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's own latency histogram of one tenant over the soak window, by the gateway's clock.

    Attributes:
        tenant: its name.
        requests: observations in the window.
        within_slo: observations at or under `slo_s`; None where that is no bucket boundary.
        slo_s: bucket boundary that was read (seconds).
        source: where it was read.
        unseen_s: longest stretch at an edge of the window for which a Prometheus has no sample (seconds); None where
            none was asked.
        reason: why something is None, or why it was not read where the target file says.
    """

    tenant: str
    requests: int | None = None
    within_slo: int | None = None
    slo_s: float = 0.25
    source: HistogramSource = HistogramSource.METRICS_PAGES
    unseen_s: float | None = None
    reason: str = ""


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """How the platform's pipelines emptied after the load.

    Attributes:
        drained: whether everything was empty before the timeout; None when it cannot be observed.
        seconds: from the end of the load until then, or until giving up.
        left: what was still there, by queue.
        first_look_s: from the end of the load until the queues were first looked at; None when that is not known.
            Queues that were empty at the first look may have emptied at any time before it.
        found: what was there at the first look, by queue; empty when that is not known.
    """

    drained: bool | None
    seconds: float
    left: dict[str, int]
    first_look_s: float | None = None
    found: dict[str, int] = {}
    reason: str = ""


class PlatformReading(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of the platform, in short: a run may be read again, to see whether it converges.

    Attributes:
        at_s: from the end of the load until then (seconds).
        drained: whether the pipelines were empty; None when that could not be seen.
        gaps: audit rows without usage and usage rows without audit row, of all tenants; None when not counted.
        outbox_pending: rows left in the outbox, of all tenants; None when not counted.
    """

    at_s: float
    drained: bool | None
    gaps: int | None
    outbox_pending: int | None


class PlatformEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Output of `platform_evidence`: what the platform says and what its rows say, after the drain.

    Attributes:
        drain: how the pipelines emptied.
        chains, reconciliation, timelines, server_latency: one per tenant.
        roots: one per tenant and UTC day.
        graph: of the fan-out's tenant.
        clock_skew_s: the platform's clock minus ours (seconds); None when it shows none.
        dead_letters: entries by list; None when they cannot be read.
        readings: every reading of this run so far, oldest first; the last one is this.
        collected_at: UTC, ISO 8601.
    """

    drain: Drain
    chains: tuple[ChainEvidence, ...]
    reconciliation: tuple[ReconcileEvidence, ...]
    timelines: tuple[TimelineEvidence, ...]
    roots: tuple[RootEvidence, ...]
    graph: GraphEvidence
    server_latency: tuple[ServerLatency, ...]
    clock_skew_s: float | None
    dead_letters: dict[str, int] | None
    readings: tuple[PlatformReading, ...] = ()
    collected_at: str


class FinalVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Output of `report`.

    Attributes:
        run_id, release, commit, profile, target, plan_hash: what the verdict is bound to.
        verdict: overall.
        why: one sentence.
        files: what was written, relative to the run folder.
    """

    run_id: str
    release: str
    commit: str
    profile: str
    target: str
    plan_hash: str
    verdict: Verdict
    why: str
    files: tuple[str, ...]
