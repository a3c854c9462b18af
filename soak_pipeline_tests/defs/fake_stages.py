"""Stages that keep the real signatures and run folder, but talk to no platform: the Dagster part is what is tested.

`install` puts them in place of the real ones; environment variables steer them, so that they also work in the
processes that Dagster starts.

    FAKE_VERDICT    PASS (default), FAIL or INCONCLUSIVE of the first criterion
    FAKE_SOAK_S     how long the soak lasts while it is wanted (0), at most as long as planned
    FAKE_ERROR_IN   name of the stage that raises
    FAKE_LOSES      any text: the soak loses the exception of the first signal, as a finalizer would
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from soak_pipeline.evidence.run_folder import RunFolder, write_json
from soak_pipeline.model.errors import HarnessFailed
from soak_pipeline.model.plan import plan_hash
from soak_pipeline.model.progress import Progress
from soak_pipeline.model.stage_outputs import (
    Capability,
    ChainEvidence,
    Drain,
    FanoutEvidence,
    FinalVerdict,
    GraphEvidence,
    IndependentChain,
    PhaseEvidence,
    PlatformChain,
    PlatformEvidence,
    ProvisionedRun,
    ProvisionedTenant,
    ReconcileEvidence,
    RevocationEvidence,
    SilencedTenant,
    StageStatus,
    TeardownReceipt,
)
from soak_pipeline.model.target import Target
from soak_pipeline.model.verdict import CriterionResult, Finding, Judgement, Verdict, at_most, overall
from soak_pipeline_tests.policies import DEFAULT, default_thresholds, plan_by

SWITCHES = ("FAKE_VERDICT", "FAKE_SOAK_S", "FAKE_ERROR_IN", "FAKE_LOSES")
NOW = "2026-11-23T07:30:00Z"


def _enter(context, stage: str) -> None:
    if os.environ.get("FAKE_ERROR_IN") == stage:
        raise HarnessFailed(f"{stage} broke")
    context.log(f"{stage} runs")


def provision(context, request) -> ProvisionedRun:
    _enter(context, "provision")
    if not context.folder.exists:
        context.folder.write_plan(
            plan_by(
                run_id=context.folder.run_id,
                profile=request.resolved(DEFAULT).profile,
                target=Target(name="fake", allow_load=True),
                thresholds=default_thresholds(),
                seed=request.seed or 7,
                release=request.release,
            )
        )
    plan = context.plan
    return ProvisionedRun(
        run_id=plan.run_id,
        plan_hash=plan_hash(plan),
        tenants=tuple(
            ProvisionedTenant(
                name=t.name, tenant_id=t.tenant_id, user_email=f"{t.name}@soak.test", benign_agents=(), attack_agents=()
            )
            for t in plan.tenants
        ),
        capabilities=(Capability(name="redis", available=False, reason="no URL | given"),),
        clock_skew_s=0.01,
        provisioned_at=NOW,
    )


def _phase(name: str, status: StageStatus = StageStatus.COMPLETE) -> PhaseEvidence:
    return PhaseEvidence(phase=name, status=status, reason="", sessions=())


def measure_fairness(context, provisioned) -> tuple[PhaseEvidence, PhaseEvidence]:
    _enter(context, "fairness")
    return _phase("baseline"), _phase("burst")


def fan_out(context, provisioned) -> FanoutEvidence:
    _enter(context, "agent_fanout")
    return FanoutEvidence(
        status=StageStatus.COMPLETE,
        reason="",
        tenant="B",
        agents=50,
        calls=600,
        unanswered=0,
        revocations=(
            RevocationEvidence(
                agent_id="a1",
                calls_while_revoked=4,
                allowed_while_revoked=0,
                calls_after_regrant=4,
                denied_after_regrant=0,
            ),
        ),
        session=None,
    )


def soak(context, provisioned) -> PhaseEvidence:
    deadline = time.monotonic() + min(float(os.environ.get("FAKE_SOAK_S", "0")), context.plan.profile.soak_s)
    try:
        _enter(context, "soak")
        context.on_progress(Progress(session="soak", phase="soak", users=60, requests_per_second=58.4))
        if os.environ.get("FAKE_LOSES"):
            with suppress(BaseException):
                context.log("soak hears nothing")
                time.sleep(deadline - time.monotonic())
        while time.monotonic() < deadline:
            if not context.still_wanted():
                return _phase("soak", StageStatus.CUT_SHORT)
            time.sleep(0.05)
    finally:
        write_json(context.folder.control_dir / "load_stopped.json", {"pid": os.getpid()})
    return _phase("soak")


def teardown(context, provisioned) -> TeardownReceipt:
    _enter(context, "teardown")
    return _receipt(context.folder)


def _receipt(folder: RunFolder) -> TeardownReceipt:
    return TeardownReceipt(
        tenants=tuple(
            SilencedTenant(name=t.name, blocked=True, probe_calls=5, probe_allowed=0, probe_statuses={"429": 5})
            for t in folder.read_plan().tenants
        ),
        lever="rpm_limit",
        load_stopped_us=1,
        blocked_us=2,
        audit_rows_after_block=0,
    )


def collect(context, provisioned, teardown) -> PlatformEvidence:
    _enter(context, "platform_evidence")
    names = [tenant.name for tenant in provisioned.tenants]
    return PlatformEvidence(
        drain=Drain(drained=True, seconds=1.5, left={}),
        chains=tuple(
            ChainEvidence(
                tenant=name,
                platform=PlatformChain(valid=True, processed_count=10, error_count=0, violations=0),
                independent=IndependentChain(
                    rows=10,
                    tampered=0,
                    gaps=0,
                    forks=0,
                    duplicate_requests=0,
                    out_of_order=0,
                    acknowledged=10,
                    acknowledged_missing=0,
                ),
            )
            for name in names
        ),
        reconciliation=tuple(
            ReconcileEvidence(tenant=name, audit_without_usage=0, usage_without_audit=0) for name in names[:-1]
        ),
        timelines=(),
        roots=(),
        graph=GraphEvidence(tenant="B"),
        server_latency=(),
        clock_skew_s=0.0,
        dead_letters={},
        collected_at=NOW,
    )


def judge(context, thresholds_changed) -> Judgement:
    from soak_pipeline.criteria.registry import CRITERIA

    _enter(context, "post_run_checks")
    first = Verdict(os.environ.get("FAKE_VERDICT", "PASS"))
    results = tuple(
        CriterionResult(
            name=criterion.name,
            verdict=first if index == 0 else Verdict.PASS,
            why=f"tenant E {criterion.name}",
            asked=criterion.name != "nothing_leaks",
            observed=1.34,
            limit=at_most(1.2, "ratio"),
            findings=(
                Finding(subject="tenant E", verdict=first, why="w", observed=1.34, figures={"latency_ms_p99": 158.0}),
            ),
        )
        for index, criterion in enumerate(CRITERIA)
    )
    return Judgement(
        run_id=context.folder.run_id,
        verdict=overall(results),
        criteria=results,
        judged_at=_now(),
        thresholds_changed=dict(thresholds_changed),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()


def report(context, judgement) -> FinalVerdict:
    _enter(context, "report")
    write_json(context.folder.path / "verdict.json", judgement)
    plan = context.plan
    return FinalVerdict(
        run_id=plan.run_id,
        release=plan.release,
        commit=plan.commit,
        profile=plan.profile.name,
        target=plan.target.name,
        plan_hash=plan_hash(plan),
        verdict=judgement.verdict,
        why="what decided",
        files=("verdict.json",),
    )


def emergency_teardown(folder: RunFolder, environment) -> TeardownReceipt | None:
    if os.environ.get("FAKE_ERROR_IN") == "emergency":
        raise HarnessFailed("the gateway does not answer")
    if not folder.exists:
        return None
    receipt = _receipt(folder)
    write_json(folder.control_dir / "emergency.json", receipt)
    return receipt


class Guardian:
    """Notes in the run folder that it was dismissed."""

    def __init__(self, run_dir: Path) -> None:
        self._mark = run_dir / "control" / "guardian_dismissed.json"

    def dismiss(self) -> None:
        write_json(self._mark, {"pid": os.getpid()})


def start_guardian(run_dir, environment, afterwards=()) -> Guardian:
    return Guardian(run_dir)


_FAKES = {
    "provision": provision,
    "fairness": measure_fairness,
    "agent_fanout": fan_out,
    "soak": soak,
    "teardown": teardown,
    "platform_evidence": collect,
    "post_run_checks": judge,
    "report": report,
    "emergency": emergency_teardown,
    "guardian": start_guardian,
}


def install(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Replaces every stage's function; `set_attribute` may be `monkeypatch.setattr`."""
    for name, function in _FAKES.items():
        module = importlib.import_module(f"soak_pipeline.stages.{name}")
        assert hasattr(module, function.__name__), f"stage {name} has no function {function.__name__}"
        set_attribute(module, function.__name__, function)
