"""The nightly soak: off until an operator turns it on; time, level and target come from the environment."""

import os

import dagster as dg

from soak_pipeline.defs.jobs import soak_job_name
from soak_pipeline.defs.partitions import ensure_soak_run
from soak_pipeline.defs.policy import POLICY
from soak_pipeline.defs.request import run_request
from soak_pipeline.model.plan import run_id_of
from soak_pipeline.model.request import DEFAULT_TARGET_FILE, SoakRequest

CRON_VARIABLE = "SOAK_NIGHTLY_CRON"
TARGET_VARIABLE = "SOAK_NIGHTLY_TARGET"
RELEASE_VARIABLE = "SOAK_NIGHTLY_RELEASE"
LEVEL_VARIABLE = "SOAK_NIGHTLY_LEVEL"
DEFAULT_CRON = "0 2 * * *"
DEFAULT_LEVEL = "nightly"


def _level() -> str:
    return os.environ.get(LEVEL_VARIABLE) or DEFAULT_LEVEL


def _schedule() -> dg.ScheduleDefinition:
    """The schedule of the level.

    Raises:
        BadInput: the variable names a level that the policy does not have.
    """
    POLICY.level(_level())

    @dg.schedule(
        name="nightly_soak_schedule",
        job_name=soak_job_name(_level()),
        cron_schedule=os.environ.get(CRON_VARIABLE) or DEFAULT_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Starts one soak of the level {_level()} per tick; off until it is turned on.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        """One run per tick, named by the tick's time, so that a tick evaluated twice starts one run."""
        run_id = run_id_of(context.scheduled_execution_time)
        ensure_soak_run(context.instance, run_id)
        request = SoakRequest(
            profile=_level(),
            target_path=os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET_FILE,
            release=os.environ.get(RELEASE_VARIABLE) or "",
        )
        return run_request(request, run_id, run_key=run_id)

    return nightly


# A policy without a level `nightly` has no such schedule, unless the variable names another level.
if os.environ.get(LEVEL_VARIABLE) or DEFAULT_LEVEL in POLICY.levels:
    nightly_soak_schedule = _schedule()
