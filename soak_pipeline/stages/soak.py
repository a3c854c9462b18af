"""The long run."""

from __future__ import annotations

from soak_pipeline.model.plan import soak_session
from soak_pipeline.model.stage_outputs import PhaseEvidence, ProvisionedRun
from soak_pipeline.model.traffic import Phase
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.load_session import run_load


def soak(context: StageContext, provisioned: ProvisionedRun) -> PhaseEvidence:
    """Sends the plan's traffic for its whole length, and samples the platform and the generator meanwhile."""
    report = run_load(context, soak_session(context.plan), provisioned)
    return PhaseEvidence(phase=Phase.SOAK.value, status=report.status, reason=report.reason, sessions=(report,))
