"""Asset `platform_evidence`."""

import dagster as dg

from soak_pipeline.defs.assets.settings import MEASURED_AS, NEEDS_PLATFORM, OWNERS
from soak_pipeline.defs.metadata.stages import platform_metadata
from soak_pipeline.defs.partitions import soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.step import stage_context
from soak_pipeline.model.stage_outputs import PlatformEvidence, ProvisionedRun, TeardownReceipt
from soak_pipeline.stages import platform_evidence as stage


@dg.asset(
    partitions_def=soak_runs,
    group_name="soak_run",
    owners=OWNERS,
    kinds={"python", "postgres"},
    tags=NEEDS_PLATFORM,
    code_version=MEASURED_AS,
)
def platform_evidence(
    context: dg.AssetExecutionContext, provision: ProvisionedRun, teardown: TeardownReceipt, harness: Harness
) -> dg.Output[PlatformEvidence]:
    """What the platform says of itself and what its rows say, read after its pipelines have drained.

    Materialising it again reads the platform again, without load.
    """
    evidence = stage.collect(stage_context(context, harness), provision, teardown)
    return dg.Output(evidence, metadata=platform_metadata(evidence))
