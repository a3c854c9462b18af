"""Job `emergency_stop`: the lever for an operator, and for sensors when their own attempt failed."""

import dagster as dg

from soak_pipeline.defs.partitions import soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.stages import emergency


@dg.op(retry_policy=dg.RetryPolicy(max_retries=10, delay=5))
def stop_load_and_block_tenants(context: dg.OpExecutionContext, harness: Harness) -> None:
    """Stops what is left of a run's load and blocks its tenants; doing it again changes nothing."""
    problem = emergency.stop_run(harness.folder(context.partition_key), harness.environment)
    if problem:
        raise dg.Failure(problem)
    context.log.info(f"soak run {context.partition_key} sends nothing, and its tenants are blocked")


@dg.job(
    partitions_def=soak_runs,
    executor_def=dg.in_process_executor,
    description="Stops the load of one soak run at once and blocks its tenants; sends nothing else.",
)
def emergency_stop() -> None:
    """One operation, tried again for a minute."""
    stop_load_and_block_tenants()
