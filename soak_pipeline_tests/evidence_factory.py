"""Builds a complete run folder from synthetic evidence: what a healthy run leaves behind, with chosen defects.

`make_run(tmp_path)` gives a folder that every criterion passes. `make_run(tmp_path, defects=["row_tampered"])` gives
one with that defect and no other; the names are those of `evidence_defects.DEFECTS`. A defect may also be a function
that changes the `SyntheticRun` in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.evidence.telemetry_writer import write_part
from soak_pipeline.model.plan import LoadSession, Plan, fairness_session, plan_hash, soak_session
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.records import TELEMETRY_COLUMNS
from soak_pipeline.model.series import LEAK_SERIES, PROCESS_START_SERIES
from soak_pipeline.model.stage_outputs import (
    Capability,
    ChainEvidence,
    Drain,
    FanoutEvidence,
    GraphEvidence,
    IndependentChain,
    PhaseEvidence,
    PlatformChain,
    PlatformEvidence,
    ProvisionedRun,
    ProvisionedTenant,
    ReconcileEvidence,
    RevocationEvidence,
    RootEvidence,
    ServerLatency,
    SessionReport,
    SilencedTenant,
    StageStatus,
    TeardownReceipt,
    TimelineEvidence,
    WorkerReport,
)
from soak_pipeline.model.target import Target
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of
from soak_pipeline_tests.synthetic_requests import (
    Requests,
    concatenate,
    fanout_requests,
    session_requests,
    write_requests,
)
from soak_pipeline_tests.tenant_tables import with_tenants

RUN_ID = "20261123T073000Z"
CAPABILITIES = (
    "operator_credentials",
    "database.identity",
    "database.audit",
    "database.usage",
    "database.flight_recorder",
    "database.identity_graph",
    "gateway",
    "redis",
    "metrics",
    "server_latency",
)

SeriesName = tuple[str, str, str]
Samples = tuple[NDArray[np.float64], NDArray[np.float64]]
Defect = str | Callable[["SyntheticRun"], None]


@dataclass
class SyntheticRun:
    """Everything that a run leaves behind, before it is written; defects change it in place.

    Attributes:
        outputs: per stage its typed output; delete one and the stage has not run.
        requests: every request record.
        telemetry: per (source, owner, series): times (seconds since the epoch) and values.
        zero_us: per session the time zero of its windows.
        sessions: per session its plan.
    """

    plan: Plan
    rng: np.random.Generator
    requests: Requests
    zero_us: dict[str, int]
    sessions: dict[str, LoadSession]
    outputs: dict[str, object] = field(default_factory=dict)
    telemetry: dict[SeriesName, Samples] = field(default_factory=dict)

    def soak_stretch_s(self) -> tuple[float, float]:
        """The judged part of the soak, seconds since the epoch."""
        zero_s = self.zero_us["soak"] / 1e6
        window = self.sessions["soak"].windows[-1]
        return zero_s + window.start_s, zero_s + window.end_s


def make_run(
    reports: Path,
    *,
    profile: str | Profile = "smoke",
    defects: Iterable[Defect] = (),
    seed: int = 1,
    run_id: str = RUN_ID,
    release: str = "v1.2.3",
    commit: str = "0123abc",
    thresholds: Thresholds | None = None,
    looks: int = 1,
    tenants: Mapping[str, float] | None = None,
    noisy: str = "",
) -> RunFolder:
    """Writes the folder of a synthetic run and returns it; without defects every criterion that is asked passes.

    Args:
        reports: the reports directory; `soak/{run_id}` is made in it.
        profile: a built-in profile's name, or a profile of the test's own.
        defects: what is wrong with the run.
        seed: of everything random in it.
        looks: how many looks at the fairness question were taken.
        tenants: share (0..1) per name; None takes the default policy's.
        noisy: the one of `tenants` that presses; empty means the first.
    """
    run = synthetic_run(
        profile=profile,
        seed=seed,
        run_id=run_id,
        release=release,
        commit=commit,
        thresholds=thresholds,
        looks=looks,
        defects=defects,
        tenants=tenants,
        noisy=noisy,
    )
    return write_run(run, reports)


def synthetic_run(
    *,
    profile: str | Profile = "smoke",
    seed: int = 1,
    run_id: str = RUN_ID,
    release: str = "v1.2.3",
    commit: str = "0123abc",
    thresholds: Thresholds | None = None,
    looks: int = 1,
    defects: Iterable[Defect] = (),
    tenants: Mapping[str, float] | None = None,
    noisy: str = "",
) -> SyntheticRun:
    """A run in memory, defects applied."""
    from soak_pipeline_tests.evidence_defects import DEFECTS

    plan = plan_by(
        run_id=run_id,
        profile=profile if isinstance(profile, Profile) else profile_of(profile),
        target=Target(name="synthetic", allow_load=True, gateway_url="http://127.0.0.1:18000"),
        thresholds=thresholds or default_thresholds(),
        seed=seed,
        release=release,
        commit=commit,
    )
    if tenants is not None:
        plan = with_tenants(plan, tenants, noisy)
    run = _healthy_run(plan, np.random.default_rng(seed), looks)
    for defect in defects:
        (DEFECTS[defect] if isinstance(defect, str) else defect)(run)
    return run


def write_run(run: SyntheticRun, reports: Path) -> RunFolder:
    """Writes the run as the stages would have."""
    folder = RunFolder(reports, run.plan.run_id)
    folder.write_plan(run.plan)
    write_requests(run.requests, folder.requests_dir)
    _write_telemetry(run.telemetry, folder.telemetry_dir)
    for stage, output in run.outputs.items():
        folder.write_output(stage, output)
    return folder


def _healthy_run(plan: Plan, rng: np.random.Generator, looks: int) -> SyntheticRun:
    sessions = {f"fairness-{look + 1}": fairness_session(plan, look) for look in range(looks)}
    sessions["soak"] = soak_session(plan)
    zero_us, parts, clock_s = {}, [], 30.0
    for name, session in sessions.items():
        if name == "soak":
            zero_us["fanout"] = int(clock_s * 1e6)
            parts.append(fanout_requests(plan, zero_us["fanout"], rng))
            clock_s += 20.0
        zero_us[name] = int(clock_s * 1e6)
        parts.append(session_requests(plan, session, zero_us[name], rng, plan.profile.load_workers))
        clock_s += session.duration_s + 10.0
    run = SyntheticRun(plan=plan, rng=rng, requests=concatenate(parts), zero_us=zero_us, sessions=sessions)
    reports = {name: _session_report(run, name) for name in zero_us}
    fairness = tuple(reports[name] for name in sessions if name != "soak")
    run.outputs["provision"] = _provisioned(plan)
    for phase in ("baseline", "burst"):
        run.outputs[phase] = _phase(phase, fairness, looks)
    run.outputs["agent_fanout"] = _fanout(plan, reports["fanout"])
    run.outputs["soak"] = _phase("soak", (reports["soak"],), 0)
    run.outputs["teardown"] = _teardown(plan, int(clock_s * 1e6))
    run.outputs["platform_evidence"] = _platform_evidence(run)
    run.telemetry = _telemetry(run, clock_s)
    return run


def _session_report(run: SyntheticRun, name: str) -> SessionReport:
    workers = run.plan.profile.load_workers
    mask = run.requests.where(session=name)
    judged = mask & ~run.requests.where(kind="auth")
    reports = []
    for worker in range(workers):
        mine = judged & (run.requests.columns["worker"] == worker)
        sent = {tenant.name: int((mine & run.requests.where(tenant=tenant.name)).sum()) for tenant in run.plan.tenants}
        reports.append(
            WorkerReport(
                worker=worker,
                sent=sent,
                due=dict(sent),
                loop_lag_ms_p99=4.0,
                cpu_share_max=0.45,
                rss_bytes_start=150_000_000,
                rss_bytes_end=151_000_000,
                lost=False,
            )
        )
    times = run.requests.columns["start_us"][mask]
    ended_us = int(times.max())
    if name in run.sessions:
        ended_us = max(ended_us, run.zero_us[name] + int(run.sessions[name].duration_s * 1e6))
    return SessionReport(
        name=name,
        status=StageStatus.COMPLETE,
        reason="",
        zero_us=run.zero_us[name],
        ended_us=ended_us,
        workers=tuple(reports),
        request_files=tuple(f"requests/{name}-{worker}-00000.parquet" for worker in range(workers)),
        records=int(mask.sum()),
    )


def _phase(phase: str, sessions: tuple[SessionReport, ...], looks: int) -> PhaseEvidence:
    return PhaseEvidence(phase=phase, status=StageStatus.COMPLETE, reason="", sessions=sessions, looks=looks)


def _provisioned(plan: Plan) -> ProvisionedRun:
    agents = plan.profile.agents_per_tenant
    return ProvisionedRun(
        run_id=plan.run_id,
        plan_hash=plan_hash(plan),
        tenants=tuple(
            ProvisionedTenant(
                name=tenant.name,
                tenant_id=tenant.tenant_id,
                user_email=f"soak-{tenant.name.lower()}@example.test",
                benign_agents=tuple(f"{tenant.name}-benign-{index}" for index in range(agents)),
                attack_agents=tuple(f"{tenant.name}-attack-{index}" for index in range(agents)),
                fanout_agents=tuple(f"{tenant.name}-fanout-{index}" for index in range(plan.profile.fanout.agents))
                if tenant.name == plan.profile.fanout.tenant
                else (),
            )
            for tenant in plan.tenants
        ),
        capabilities=tuple(Capability(name=name, available=True) for name in CAPABILITIES),
        clock_skew_s=0.02,
        provisioned_at="2026-11-23T07:30:10Z",
    )


def _fanout(plan: Plan, session: SessionReport) -> FanoutEvidence:
    fanout = plan.profile.fanout
    return FanoutEvidence(
        status=StageStatus.COMPLETE,
        reason="",
        tenant=fanout.tenant,
        agents=fanout.agents,
        # Two calls are under way when the fan-out ends: begun, and never recorded.
        calls=session.records - fanout.agents + 2,
        unanswered=0,
        revocations=tuple(
            RevocationEvidence(
                agent_id=f"{fanout.tenant}-fanout-{index}",
                calls_while_revoked=fanout.calls_per_agent,
                allowed_while_revoked=0,
                calls_after_regrant=fanout.calls_per_agent,
                denied_after_regrant=0,
            )
            for index in range(fanout.revoked_agents)
        ),
        session=session,
    )


def _teardown(plan: Plan, stopped_us: int) -> TeardownReceipt:
    return TeardownReceipt(
        tenants=tuple(
            SilencedTenant(name=tenant.name, blocked=True, probe_calls=5, probe_allowed=0, probe_statuses={"429": 5})
            for tenant in plan.tenants
        ),
        lever="rpm_limit",
        load_stopped_us=stopped_us,
        blocked_us=stopped_us + 500_000,
        audit_rows_after_block=0,
    )


def _platform_evidence(run: SyntheticRun) -> PlatformEvidence:
    plan = run.plan
    day = f"{plan.run_id[:4]}-{plan.run_id[4:6]}-{plan.run_id[6:8]}"
    rows, executed = {}, {}
    for tenant in plan.tenants:
        of_tenant = run.requests.where(tenant=tenant.name)
        misc = run.requests.where(tenant=tenant.name, kind="misc")
        rows[tenant.name] = int(of_tenant.sum() - misc.sum())
        executed[tenant.name] = int((of_tenant & run.requests.where(kind="allowed")).sum()) + int(
            (of_tenant & run.requests.where(kind="denied")).sum()
        )
    logins = {tenant.name: int(run.requests.where(tenant=tenant.name, kind="auth").sum()) for tenant in plan.tenants}
    names = [tenant.name for tenant in plan.tenants]
    fanout_agents = plan.profile.fanout.agents
    return PlatformEvidence(
        drain=Drain(drained=True, seconds=38.0, left={}),
        chains=tuple(
            ChainEvidence(
                tenant=name,
                platform=PlatformChain(valid=True, processed_count=rows[name], error_count=0, violations=0),
                independent=IndependentChain(
                    rows=rows[name],
                    tampered=0,
                    gaps=0,
                    forks=0,
                    duplicate_requests=0,
                    out_of_order=0,
                    acknowledged=executed[name],
                    acknowledged_missing=0,
                ),
            )
            for name in names
        ),
        reconciliation=tuple(
            ReconcileEvidence(
                tenant=name,
                billable_audit_rows=rows[name] - logins[name],
                usage_rows=rows[name] - logins[name],
                audit_without_usage=0,
                usage_without_audit=0,
                billed_twice=0,
                outbox_pending=0,
                outbox_failed=0,
            )
            for name in names
        ),
        timelines=tuple(
            TimelineEvidence(tenant=name, total=executed[name], in_progress=0, recovered_backfill=0) for name in names
        ),
        roots=tuple(
            RootEvidence(
                tenant=name,
                root_date=day,
                present=True,
                leaf_count=rows[name],
                audit_rows=rows[name],
                covers_last_row=True,
                signature_valid=True,
                root_hash_matches=True,
            )
            for name in names
        ),
        graph=GraphEvidence(
            tenant=plan.profile.fanout.tenant,
            agent_nodes=fanout_agents,
            expected_agent_nodes=fanout_agents,
            duplicate_nodes=0,
            duplicate_edges=0,
            missing_edges=0,
        ),
        server_latency=tuple(
            ServerLatency(tenant=name, requests=executed[name], within_slo=executed[name]) for name in names
        ),
        clock_skew_s=0.03,
        dead_letters={"acp:billing_dlq": 0, "acp:audit_stream:dlq": 0},
        collected_at="2026-11-23T08:00:00Z",
    )


PLATFORM_PROCESSES = ("gateway-1", "gateway-2", "audit-worker", "usage-worker")
_LEVELS: dict[str, tuple[str, tuple[str, ...], float, float]] = {
    "rss_bytes": ("platform", PLATFORM_PROCESSES, 120e6, 0.2e6),
    "uss_bytes": ("platform", PLATFORM_PROCESSES, 100e6, 0.2e6),
    "open_fds": ("platform", PLATFORM_PROCESSES, 60.0, 1.0),
    "threads": ("platform", PLATFORM_PROCESSES, 8.0, 0.0),
    "db_pool_waiters": ("platform", ("gateway-1", "gateway-2"), 0.0, 0.0),
    "retries_per_request": ("platform", ("gateway-1", "gateway-2"), 0.0, 0.0),
    "db_connections": ("database", ("acp_audit", "acp_usage"), 12.0, 0.5),
    "gc_share": ("platform", ("gateway-1", "gateway-2"), 0.01, 0.001),
    "db_connections_idle_in_transaction": ("database", ("acp_audit", "acp_usage"), 0.0, 0.0),
    "outbox_pending": ("database", ("acp_audit",), 900.0, 20.0),
    "table_bytes": ("database", ("acp_audit pending_usage_events", "acp_identity agents"), 3e6, 0.2e6),
    "stream_length": ("redis", ("acp:audit_stream",), 300.0, 10.0),
    "consumer_lag": ("redis", ("acp:audit_stream",), 15.0, 2.0),
    "dead_letter_length": ("redis", ("acp:billing_dlq",), 0.0, 0.0),
    "redis_memory_bytes": ("redis", ("redis",), 40e6, 0.1e6),
    "redis_keys": ("redis", ("redis",), 4_000.0, 20.0),
}


def _telemetry(run: SyntheticRun, end_s: float) -> dict[SeriesName, Samples]:
    assert set(_LEVELS) == set(LEAK_SERIES), "the factory covers every leak series"
    times = np.arange(5.0, end_s + 60.0, run.plan.profile.telemetry_interval_s)
    telemetry: dict[SeriesName, Samples] = {}

    def add(source: str, owner: str, series: str, level: float, noise: float) -> None:
        values = level + noise * run.rng.standard_normal(len(times))
        telemetry[source, owner, series] = (times.copy(), values)

    for series, (source, owners, level, noise) in _LEVELS.items():
        for owner in owners:
            add(source, owner, series, level, noise)
    for owner in PLATFORM_PROCESSES:
        add("platform", owner, PROCESS_START_SERIES, run.plan.epoch_unix_us / 1e6 - 60.0, 0.0)
    for worker in range(run.plan.profile.load_workers):
        for series, level, noise in (
            ("rss_bytes", 150e6, 0.2e6),
            ("cpu_share", 0.40, 0.02),
            ("loop_lag_ms_p99", 4.0, 0.5),
            ("due_unsent", 0.0, 0.0),
            ("sent", 0.0, 0.0),
        ):
            add("generator", f"worker-{worker}", series, level, noise)
    for series, level, noise in (
        ("cpu_idle_share", 0.3, 0.02),
        ("cpu_steal_share", 0.0, 0.0),
        ("load_average", 2, 0.1),
    ):
        add("host", "host", series, level, noise)
    return telemetry


def _write_telemetry(telemetry: dict[SeriesName, Samples], directory: Path) -> None:
    if not telemetry:
        return
    keys = list(telemetry)
    lengths = [len(telemetry[key][0]) for key in keys]
    columns: dict[str, pa.Array] = {
        "time_us": pa.array(np.concatenate([np.round(telemetry[key][0] * 1e6).astype(np.int64) for key in keys])),
        "value": pa.array(np.concatenate([telemetry[key][1] for key in keys])),
    }
    for position, name in enumerate(("source", "owner", "series")):
        columns[name] = pa.array(np.repeat([key[position] for key in keys], lengths)).dictionary_encode()
    directory.mkdir(parents=True, exist_ok=True)
    write_part(directory, "run", 0, pa.table({name: columns[name] for name in TELEMETRY_COLUMNS}))


def replaced(value: object, **changes: object) -> object:
    """A changed copy of a frozen struct; an unknown field is an error."""
    return msgspec.structs.replace(value, **changes)
