"""Asset `agent_fanout`."""

import dagster as dg

from soak_pipeline.defs.assets.settings import MEASURED_AS, OWNERS, SENDS_LOAD
from soak_pipeline.defs.metadata.stages import fanout_metadata
from soak_pipeline.defs.partitions import SOAK_TARGET_POOL, soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.step import load_stage
from soak_pipeline.model.stage_outputs import FanoutEvidence, ProvisionedRun
from soak_pipeline.stages import agent_fanout as stage


@dg.asset(
    deps=["baseline", "burst"],
    partitions_def=soak_runs,
    group_name="soak_run",
    owners=OWNERS,
    kinds={"python", "locust"},
    tags=SENDS_LOAD,
    code_version=MEASURED_AS,
    pool=SOAK_TARGET_POOL,
)
def agent_fanout(
    context: dg.AssetExecutionContext, provision: ProvisionedRun, harness: Harness
) -> dg.Output[FanoutEvidence]:
    """Many agents of one tenant at once, some of which lose and regain a permission."""
    with load_stage(context, harness) as surroundings:
        evidence = stage.fan_out(surroundings, provision)
        return dg.Output(evidence, metadata=fanout_metadata(evidence))
