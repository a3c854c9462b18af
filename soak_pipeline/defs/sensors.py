"""Sensors that tidy up after runs that did not end by themselves."""

from collections.abc import Iterator

import dagster as dg

from soak_pipeline.defs.abandoned_runs import PARTITION_TAG, fail_abandoned_runs
from soak_pipeline.defs.emergency_stop import emergency_stop
from soak_pipeline.defs.partitions import announce_pool
from soak_pipeline.defs.resources import Harness
from soak_pipeline.stages import emergency

_MAY_LEAVE_LOAD = {"provision", "fairness_windows", "agent_fanout", "soak", "teardown"}


def _stop_leftovers(context: dg.RunStatusSensorContext, harness: Harness) -> dg.RunRequest | dg.SkipReason:
    """Blocks the tenants at once; when that fails, asks for the job that tries again.

    A sensor's own failure is never repeated by Dagster, a job's is.
    """
    run = context.dagster_run
    soak_run = run.tags.get(PARTITION_TAG)
    if soak_run is None or not _left_open(context.instance, run.run_id):
        return dg.SkipReason(f"run {run.run_id} left no tenant open")
    problem = emergency.stop_run(harness.folder(soak_run), harness.environment)
    if problem:
        context.log.warning(f"{problem}; trying again in a job")
        return dg.RunRequest(run_key=run.run_id, job_name=emergency_stop.name, partition_key=soak_run)
    return dg.SkipReason(f"the load of soak run {soak_run} is stopped and its tenants are blocked")


def _left_open(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run began a step that may leave tenants open, and did not end with a successful `teardown`."""
    status = {step.step_key: step.status for step in instance.get_run_step_stats(run_id)}
    torn_down = status.get("teardown")
    return bool(_MAY_LEAVE_LOAD & set(status)) and (torn_down is None or torn_down.value != "SUCCESS")


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.FAILURE,
    request_jobs=[emergency_stop],
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def teardown_after_failure(context: dg.RunStatusSensorContext, harness: Harness) -> dg.RunRequest | dg.SkipReason:
    """Stops leftover load and blocks the tenants of a run that failed before its own teardown."""
    return _stop_leftovers(context, harness)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    request_jobs=[emergency_stop],
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def teardown_after_cancel(context: dg.RunStatusSensorContext, harness: Harness) -> dg.RunRequest | dg.SkipReason:
    """Stops leftover load and blocks the tenants of a run that was cancelled before its own teardown."""
    return _stop_leftovers(context, harness)


@dg.sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def abandoned_soak(context: dg.SensorEvaluationContext, harness: Harness) -> Iterator[dg.SkipReason]:
    """Marks runs as failed whose process is gone without a word, after stopping what they left behind."""
    announce_pool(context.instance)
    abandoned = fail_abandoned_runs(context.instance, harness, context.log.warning)
    yield dg.SkipReason(f"abandoned: {', '.join(abandoned)}" if abandoned else "every run in progress has its process")
