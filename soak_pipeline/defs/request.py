"""Job `request_soak`: a form in the UI that starts a soak run, so that nobody has to invent a partition key."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from soak_pipeline.config.policy_file import POLICY_VARIABLE
from soak_pipeline.defs.jobs import soak_job_name, soak_jobs
from soak_pipeline.defs.partitions import add_soak_run
from soak_pipeline.defs.policy import POLICY
from soak_pipeline.defs.run_config import SoakConfig, run_config_of
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.plan import run_id_of
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.stages.provision import refuse_request

REQUESTED_RUN_TAG = "soak/requested_run"
REQUEST_OP = "accept_request"


@dg.op(name=REQUEST_OP)
def accept_request(context: dg.OpExecutionContext, config: SoakConfig) -> None:
    """Checks the form, adds the partition of the new run, and notes its key in this run's tags.

    Raises:
        BadInput: unknown level, number or threshold, or no such target file; nothing is started.
        LoadRefused: the target allows no load, less load, or wants its name typed again; nothing is started.
    """
    request = config.request()
    refuse_request(request, run_id_of(datetime.now(UTC)), os.environ)
    if request.profile not in POLICY.levels:
        raise BadInput(
            f"level {request.profile!r}",
            [
                f"has no job in this code location, whose levels are {', '.join(POLICY.levels)}; "
                f"set {POLICY_VARIABLE} to the policy that has it, and reload the code location"
            ],
        )
    run_id = add_soak_run(context.instance, datetime.now(UTC))
    context.instance.add_run_tags(context.run.run_id, {REQUESTED_RUN_TAG: run_id})
    context.add_output_metadata({"soak run": dg.MetadataValue.url(f"/runs?q[0]=tag:dagster/partition={run_id}")})
    context.log.info(f"soak run {run_id} will start within seconds; the link below shows it")


@dg.job(executor_def=dg.in_process_executor, description="Starts a soak run: level, target, release, overrides.")
def request_soak() -> None:
    """One operation; the run itself is launched by `requested_soak`."""
    accept_request()


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[request_soak],
    request_jobs=soak_jobs,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def requested_soak(context: dg.RunStatusSensorContext) -> dg.RunRequest:
    """Launches the run that an accepted request asks for, exactly once."""
    run = context.dagster_run
    request = SoakConfig(**_form_of(run.run_config)).request()
    return run_request(request, run.tags[REQUESTED_RUN_TAG], run_key=run.run_id)


def run_request(request: SoakRequest, run_id: str, *, run_key: str) -> dg.RunRequest:
    """The launch of a soak run whose partition exists."""
    return dg.RunRequest(
        run_key=run_key,
        job_name=soak_job_name(request.profile),
        partition_key=run_id,
        run_config=run_config_of(request),
        tags={"soak/release": request.release} if request.release else {},
    )


def _form_of(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values; the configuration of a run in which every field was left at its default has none."""
    form = run_config.get("ops", {}).get(REQUEST_OP, {}).get("config", {})
    return dict(form)
