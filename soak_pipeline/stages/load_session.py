"""What the load stages share: the lock, the telemetry around a session, and the status of several sessions."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.load.session import run_session
from soak_pipeline.model.plan import LoadSession
from soak_pipeline.model.stage_outputs import ProvisionedRun, SessionReport, StageStatus
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.target_lock import hold_target
from soak_pipeline.target.config import ResolvedTarget, refuse_elsewhere
from soak_pipeline.telemetry.sampler import Sampler

_SEVERITY = (StageStatus.COMPLETE, StageStatus.CUT_SHORT, StageStatus.FAILED)


def claim_target(context: StageContext) -> ResolvedTarget:
    """The resolved target, locked for this process.

    Raises:
        AlreadyRunning: another soak holds it.
        LoadRefused: the environment names a gateway where the plan's target file allows no load.
    """
    hold_target(context.plan.target.name, context.folder.run_id, context.environment)
    resolved = context.target()
    refuse_elsewhere(resolved)
    return resolved


def run_load(context: StageContext, session: LoadSession, provisioned: ProvisionedRun) -> SessionReport:
    """Runs one load session to its end or to the end of its lease, with telemetry alongside."""
    resolved = claim_target(context)
    context.log(f"load session {session.name}: {sum(session.users.values())} users, {session.duration_s:g} s")
    with Sampler(resolved, context.plan, context.folder.path, name=session.name):
        report = run_session(
            session,
            plan=context.plan,
            provisioned=provisioned,
            run_dir=context.folder.path,
            gateway_url=resolved.gateway_url,
            environment=context.environment,
            still_wanted=context.still_wanted,
            on_progress=context.on_progress,
        )
    if report.status is not StageStatus.COMPLETE:
        context.log(f"load session {session.name} ended {report.status}: {report.reason}")
    return report


def worst_status(sessions: Sequence[SessionReport]) -> tuple[StageStatus, str]:
    """Status and reason of the session that went worst."""
    worst = max(sessions, key=lambda session: _SEVERITY.index(session.status))
    return worst.status, worst.reason
