"""Baseline and burst: one operation with two outputs, so that the windows of both can alternate.

Pairs of windows are added look by look, up to the plan's cap, while the answer is open.
"""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.fairness.decision import fairness_is_decided
from soak_pipeline.evidence.requests import read_requests
from soak_pipeline.model.plan import Plan, fairness_session
from soak_pipeline.model.stage_outputs import PhaseEvidence, ProvisionedRun, SessionReport, StageStatus
from soak_pipeline.model.traffic import Phase
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.load_session import run_load, worst_status


def measure_fairness(context: StageContext, provisioned: ProvisionedRun) -> tuple[PhaseEvidence, PhaseEvidence]:
    """Measures every tenant with the noisy one at rest and in burst.

    Returns:
        The evidence of the baseline and of the burst.
    """
    plan = context.plan
    sessions: list[SessionReport] = []
    for look in range(len(plan.profile.fairness.pairs_by_look)):
        report = run_load(context, fairness_session(plan, look), provisioned)
        sessions.append(report)
        if report.status is not StageStatus.COMPLETE:
            break
        if _is_decided(context, plan, look + 1):
            break
        context.log(f"fairness is still open after look {look + 1}")
    return _evidence(Phase.BASELINE, sessions), _evidence(Phase.BURST, sessions)


def _is_decided(context: StageContext, plan: Plan, looks: int) -> bool:
    return fairness_is_decided(read_requests(context.folder.requests_dir), plan, looks)


def _evidence(phase: Phase, sessions: Sequence[SessionReport]) -> PhaseEvidence:
    status, reason = worst_status(sessions)
    return PhaseEvidence(phase=phase.value, status=status, reason=reason, sessions=tuple(sessions), looks=len(sessions))
