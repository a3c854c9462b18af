"""What can be wrong with a synthetic run, by name: one function per defect, each changing one thing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np

from soak_pipeline.model.stage_outputs import StageStatus
from soak_pipeline_tests.evidence_factory import SyntheticRun

MIB = 1024.0 * 1024.0


def change_output(run: SyntheticRun, stage: str, **changes: Any) -> None:
    """Changes fields of one stage's output."""
    run.outputs[stage] = msgspec.structs.replace(run.outputs[stage], **changes)


def change_part(run: SyntheticRun, part: str, tenant: str, **changes: Any) -> None:
    """Changes one tenant's entry of a list of the platform evidence."""
    entries = getattr(run.outputs["platform_evidence"], part)
    changed = tuple(msgspec.structs.replace(entry, **changes) if entry.tenant == tenant else entry for entry in entries)
    change_output(run, "platform_evidence", **{part: changed})


def change_chain(run: SyntheticRun, tenant: str, side: str, **changes: Any) -> None:
    """Changes one side (`platform` or `independent`) of a tenant's chain evidence."""
    chains = run.outputs["platform_evidence"].chains  # type: ignore[attr-defined]
    entry = next(chain for chain in chains if chain.tenant == tenant)
    change_part(run, "chains", tenant, **{side: msgspec.structs.replace(getattr(entry, side), **changes)})


def change_silence(run: SyntheticRun, tenant: str, **changes: Any) -> None:
    """Changes one tenant's entry of the teardown receipt."""
    tenants = run.outputs["teardown"].tenants  # type: ignore[attr-defined]
    changed = tuple(msgspec.structs.replace(entry, **changes) if entry.name == tenant else entry for entry in tenants)
    change_output(run, "teardown", tenants=changed)


def change_worker(run: SyntheticRun, stage: str, **changes: Any) -> None:
    """Changes the first load worker's report in the first session of a stage."""
    phase: Any = run.outputs[stage]
    first, *others = phase.sessions
    worker, *rest = first.workers
    first = msgspec.structs.replace(first, workers=(msgspec.structs.replace(worker, **changes), *rest))
    change_output(run, stage, sessions=(first, *others))


def slow_down(run: SyntheticRun, factor: float, **where: str) -> None:
    """Multiplies the service time of some requests."""
    mask = run.requests.where(**where)
    column = run.requests.columns["service_us"]
    column[mask] = np.round(column[mask] * factor).astype(column.dtype)


def go_wrong(run: SyntheticRun, outcome: str, status: int, share: float, **where: str) -> None:
    """Gives an evenly spread share of some requests another outcome."""
    rows = np.flatnonzero(run.requests.where(**where))
    chosen = rows[np.floor(np.arange(len(rows)) * share) != np.floor((np.arange(len(rows)) + 1) * share)]
    run.requests.set_text("outcome", chosen, outcome)
    run.requests.columns["status"][chosen] = status


def set_outcome(run: SyntheticRun, outcome: str, status: int, count: int, **where: str) -> None:
    """Gives the first `count` of some requests another outcome."""
    rows = np.flatnonzero(run.requests.where(**where))[:count]
    assert len(rows) == count, f"the run has only {len(rows)} such requests"
    run.requests.set_text("outcome", rows, outcome)
    run.requests.columns["status"][rows] = status


def grow(run: SyntheticRun, source: str, owner: str, series: str, per_hour: float) -> None:
    """Adds a straight growth to one series from the start of the soak."""
    times, values = run.telemetry[source, owner, series]
    start_s, _ = run.soak_stretch_s()
    run.telemetry[source, owner, series] = (times, values + per_hour * np.maximum(0.0, times - start_s) / 3600.0)


def recount(run: SyntheticRun, session: str) -> None:
    """Brings the counts of a session's reports in line with its records, as if no more had been due."""
    mask = run.requests.where(session=session)
    for stage in ("baseline", "burst", "soak"):
        reports = []
        for report in run.outputs[stage].sessions:  # type: ignore[attr-defined]
            if report.name == session:
                worker, *others = report.workers
                sent = {
                    tenant: int((mask & run.requests.where(tenant=tenant) & ~run.requests.where(kind="auth")).sum())
                    for tenant in worker.sent
                }
                for other in others:
                    sent = {tenant: sent[tenant] - other.sent[tenant] for tenant in sent}
                worker = msgspec.structs.replace(worker, sent=sent, due=sent)
                report = msgspec.structs.replace(report, workers=(worker, *others), records=int(mask.sum()))
            reports.append(report)
        change_output(run, stage, sessions=tuple(reports))


def drop_series(run: SyntheticRun, series: str) -> None:
    """Removes one series of every owner."""
    run.telemetry = {key: samples for key, samples in run.telemetry.items() if key[2] != series}


def drop_stretch(run: SyntheticRun, seconds: float) -> None:
    """Loses every sample of a stretch in the middle of the soak."""
    start_s, end_s = run.soak_stretch_s()
    middle = (start_s + end_s) / 2
    for key, (times, values) in run.telemetry.items():
        kept = np.abs(times - middle) > seconds / 2
        run.telemetry[key] = (times[kept], values[kept])


def thin_out(run: SyntheticRun, share: float, **where: str) -> None:
    """Keeps only a share of some requests, as if they had never been sent."""
    mask = run.requests.where(**where)
    drop = np.flatnonzero(mask)
    drop = drop[run.rng.random(len(drop)) >= share]
    kept = np.ones(len(run.requests), dtype=bool)
    kept[drop] = False
    run.requests.keep(kept)


def _restart(run: SyntheticRun) -> None:
    times, values = run.telemetry["platform", "gateway-1", "process_start_time_s"]
    start_s, end_s = run.soak_stretch_s()
    later = times > (start_s + end_s) / 2
    run.telemetry["platform", "gateway-1", "process_start_time_s"] = (times, np.where(later, values + 5_000, values))


def change_graph(run: SyntheticRun, **changes: int) -> None:
    """Changes the graph evidence of the fan-out."""
    graph = run.outputs["platform_evidence"].graph  # type: ignore[attr-defined]
    change_output(run, "platform_evidence", graph=msgspec.structs.replace(graph, **changes))


def change_drain(run: SyntheticRun, **changes: Any) -> None:
    """Changes how the pipelines drained."""
    drain = run.outputs["platform_evidence"].drain  # type: ignore[attr-defined]
    change_output(run, "platform_evidence", drain=msgspec.structs.replace(drain, **changes))


def _together(*steps: Callable[[SyntheticRun], None]) -> Callable[[SyntheticRun], None]:
    def apply(run: SyntheticRun) -> None:
        for step in steps:
            step(run)

    return apply


def _revocation(run: SyntheticRun, **changes: int) -> None:
    revocations = run.outputs["agent_fanout"].revocations  # type: ignore[attr-defined]
    changed = (msgspec.structs.replace(revocations[0], **changes), *revocations[1:])
    change_output(run, "agent_fanout", revocations=changed)


def _cut_short(run: SyntheticRun) -> None:
    soak: Any = run.outputs["soak"]
    start_s, end_s = run.soak_stretch_s()
    cut_us = int((start_s + end_s) / 2 * 1e6)
    run.requests.keep(~(run.requests.where(session="soak") & (run.requests.columns["intended_us"] > cut_us)))
    session = msgspec.structs.replace(
        soak.sessions[0], status=StageStatus.CUT_SHORT, reason="the lease ended", ended_us=cut_us
    )
    change_output(run, "soak", status=StageStatus.CUT_SHORT, reason="the lease ended", sessions=(session,))


def _generator_starved(run: SyntheticRun) -> None:
    change_worker(run, "soak", loop_lag_ms_p99=850.0, cpu_share_max=1.0)


def _host_steal(run: SyntheticRun) -> None:
    times, values = run.telemetry["host", "host", "cpu_steal_share"]
    run.telemetry["host", "host", "cpu_steal_share"] = (times, np.full(len(values), 0.3))


def _behind_schedule(run: SyntheticRun) -> None:
    soak: Any = run.outputs["soak"]
    sent = soak.sessions[0].workers[0].sent
    change_worker(run, "soak", due={tenant: int(count * 1.25) for tenant, count in sent.items()})


def _without(stage: str) -> Callable[[SyntheticRun], None]:
    def remove(run: SyntheticRun) -> None:
        del run.outputs[stage]

    return remove


DEFECTS: dict[str, Callable[[SyntheticRun], None]] = {
    "chain_fork": _together(
        lambda run: change_chain(run, "A", "independent", forks=1, gaps=1, samples=("2 rows follow the same row",)),
        lambda run: change_chain(run, "A", "platform", valid=False, error_count=1, violations=1),
    ),
    "row_tampered": _together(
        lambda run: change_chain(run, "C", "independent", tampered=1),
        lambda run: change_chain(run, "C", "platform", valid=False, error_count=1),
    ),
    "row_deleted": _together(
        lambda run: change_chain(run, "D", "independent", gaps=1, acknowledged_missing=1),
        lambda run: change_chain(run, "D", "platform", valid=False, error_count=1, violations=1),
    ),
    "audit_event_dropped": lambda run: change_chain(run, "E", "independent", acknowledged_missing=2),
    "chain_sides_disagree": lambda run: change_chain(run, "B", "independent", tampered=1),
    "chain_processed_count_short": lambda run: change_chain(run, "B", "platform", processed_count=10),
    "chain_unread": lambda run: change_part(run, "chains", "B", independent=None, reason="no access to acp_audit"),
    "usage_dropped": lambda run: change_part(run, "reconciliation", "C", audit_without_usage=3),
    "usage_without_audit": lambda run: change_part(run, "reconciliation", "C", usage_without_audit=2),
    "billed_twice": lambda run: change_part(run, "reconciliation", "C", billed_twice=1),
    "outbox_stalled": _together(
        lambda run: change_part(run, "reconciliation", "A", outbox_pending=812),
        lambda run: change_drain(run, drained=False, seconds=180.0, left={"outbox_pending": 812}),
    ),
    "usage_worker_slow": lambda run: change_drain(run, seconds=260.0),
    "dead_letter": lambda run: change_output(run, "platform_evidence", dead_letters={"acp:billing_dlq": 1}),
    "usage_unread": lambda run: change_part(
        run, "reconciliation", "D", audit_without_usage=None, reason="no access to acp_usage"
    ),
    "timeline_stuck": lambda run: change_part(run, "timelines", "B", in_progress=4),
    "timelines_backfilled": lambda run: change_part(run, "timelines", "B", recovered_backfill=9),
    "timelines_unread": lambda run: change_part(
        run, "timelines", "B", total=None, in_progress=None, recovered_backfill=None, reason="no access"
    ),
    "root_missing": lambda run: change_part(run, "roots", "D", present=False, leaf_count=None),
    "root_stale": lambda run: change_part(run, "roots", "D", leaf_count=12, covers_last_row=False),
    "root_signature_wrong": lambda run: change_part(run, "roots", "D", signature_valid=False),
    "root_hash_wrong": lambda run: change_part(run, "roots", "D", root_hash_matches=False),
    "root_unread": lambda run: change_part(run, "roots", "D", audit_rows=None, reason="no access to acp_audit"),
    "slow_tenant": lambda run: slow_down(run, 10.0, phase="soak", tenant="C", kind="allowed"),
    "quiet_tenants_suffer": _together(
        *(partial(slow_down, factor=1.6, phase="burst", tenant=tenant) for tenant in ("B", "C", "D", "E"))
    ),
    "quiet_tenant_suffers": lambda run: slow_down(run, 1.6, phase="burst", tenant="E"),
    "quiet_tenant_fails_fast": lambda run: set_outcome(run, "throttled", 429, 200, phase="burst", tenant="E"),
    "noisy_never_presses": _together(
        lambda run: thin_out(run, 0.15, phase="burst", tenant="A"),
        lambda run: recount(run, "fairness-1"),
    ),
    "rss_leak": lambda run: grow(run, "platform", "gateway-1", "rss_bytes", 400 * MIB),
    "fd_leak": lambda run: grow(run, "platform", "gateway-2", "open_fds", 300.0),
    "connection_leak": lambda run: grow(run, "database", "acp_audit", "db_connections", 60.0),
    "redis_key_leak": lambda run: grow(run, "redis", "redis", "redis_keys", 60_000.0),
    "queue_grows": lambda run: grow(run, "redis", "acp:audit_stream", "consumer_lag", 5_000.0),
    "retries_accumulate": lambda run: grow(run, "platform", "gateway-1", "retries_per_request", 0.2),
    "platform_restarted": _restart,
    "metrics_gone": lambda run: drop_series(run, "rss_bytes"),
    "attack_allowed": lambda run: set_outcome(run, "wrongly_allowed", 200, 1, phase="soak", operation="attack_shell"),
    "call_wrongly_denied": lambda run: set_outcome(run, "wrongly_denied", 403, 1, phase="soak", operation="execute"),
    "client_error": lambda run: set_outcome(run, "client_error", 400, 1, phase="soak", operation="execute"),
    "server_errors": lambda run: go_wrong(run, "server_error", 500, 0.1, phase="soak", tenant="A", kind="allowed"),
    "throttling_storm": lambda run: go_wrong(run, "throttled", 429, 0.1, phase="soak", tenant="E"),
    "malformed_bodies": lambda run: go_wrong(run, "malformed", 200, 0.05, phase="soak", tenant="A"),
    "revocation_not_honoured": lambda run: _revocation(run, allowed_while_revoked=1),
    "regrant_refused": lambda run: _revocation(run, denied_after_regrant=1),
    "fanout_unanswered": lambda run: change_output(run, "agent_fanout", unanswered=2),
    "duplicate_node": lambda run: change_graph(run, duplicate_nodes=1),
    "duplicate_edge": lambda run: change_graph(run, duplicate_edges=3),
    "rpm_limit_ignored": lambda run: change_silence(run, "A", probe_allowed=5, probe_statuses={"200": 5}),
    "tenant_not_blocked": lambda run: change_silence(run, "A", blocked=False, reason="the lever answered 403"),
    "not_probed": lambda run: change_silence(run, "A", probe_calls=0, probe_statuses={}, reason="no token"),
    "rows_after_block": lambda run: change_output(run, "teardown", audit_rows_after_block=7),
    "generator_starved": _generator_starved,
    "behind_schedule": _behind_schedule,
    "worker_lost": lambda run: change_worker(run, "soak", lost=True),
    "telemetry_gap": lambda run: drop_stretch(run, 40.0),
    "clock_skew": lambda run: change_output(run, "platform_evidence", clock_skew_s=180.0),
    "cut_short": _cut_short,
    "host_steal": _host_steal,
    **{
        f"without_{stage}": _without(stage)
        for stage in ("provision", "baseline", "burst", "agent_fanout", "soak", "teardown", "platform_evidence")
    },
}
"""By name; what each does is its one line above."""
