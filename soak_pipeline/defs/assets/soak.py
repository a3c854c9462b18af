"""Asset `soak`."""

import dagster as dg

from soak_pipeline.defs.assets.settings import MEASURED_AS, OWNERS, SENDS_LOAD
from soak_pipeline.defs.metadata.stages import phase_metadata
from soak_pipeline.defs.partitions import SOAK_TARGET_POOL, soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.step import load_stage
from soak_pipeline.model.stage_outputs import PhaseEvidence, ProvisionedRun
from soak_pipeline.stages import soak as stage


@dg.asset(
    deps=["agent_fanout"],
    partitions_def=soak_runs,
    group_name="soak_run",
    owners=OWNERS,
    kinds={"python", "locust"},
    tags=SENDS_LOAD,
    code_version=MEASURED_AS,
    pool=SOAK_TARGET_POOL,
)
def soak(context: dg.AssetExecutionContext, provision: ProvisionedRun, harness: Harness) -> dg.Output[PhaseEvidence]:
    """The long run: every tenant's traffic at once, with telemetry of the platform and of the load generator."""
    with load_stage(context, harness) as surroundings:
        evidence = stage.soak(surroundings, provision)
        return dg.Output(evidence, metadata=phase_metadata(evidence))
