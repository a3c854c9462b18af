"""Asset `teardown`."""

import dagster as dg

from soak_pipeline.defs.assets.settings import (
    MEASURED_AS,
    NEEDS_PLATFORM,
    OWNERS,
)
from soak_pipeline.defs.metadata.stages import teardown_metadata
from soak_pipeline.defs.partitions import SOAK_TARGET_POOL, soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.step import load_stage
from soak_pipeline.model.stage_outputs import ProvisionedRun, TeardownReceipt
from soak_pipeline.stages import teardown as stage


@dg.asset(
    deps=["soak"],
    partitions_def=soak_runs,
    group_name="soak_run",
    owners=OWNERS,
    kinds={"python"},
    tags=NEEDS_PLATFORM,
    code_version=MEASURED_AS,
    pool=SOAK_TARGET_POOL,
)
def teardown(
    context: dg.AssetExecutionContext, provision: ProvisionedRun, harness: Harness
) -> dg.Output[TeardownReceipt]:
    """Every soak tenant blocked, and a probe of each that proves the silence."""
    with load_stage(context, harness) as surroundings:
        receipt = stage.teardown(surroundings, provision)
        return dg.Output(receipt, metadata=teardown_metadata(receipt))
