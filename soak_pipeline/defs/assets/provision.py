"""Asset `provision`."""

import dagster as dg

from soak_pipeline.defs.assets.settings import (
    MEASURED_AS,
    NEEDS_PLATFORM,
    OWNERS,
)
from soak_pipeline.defs.metadata.stages import provision_metadata
from soak_pipeline.defs.partitions import SOAK_TARGET_POOL, soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.run_config import SoakConfig
from soak_pipeline.defs.step import load_stage
from soak_pipeline.model.stage_outputs import ProvisionedRun
from soak_pipeline.stages import provision as stage


@dg.asset(
    partitions_def=soak_runs,
    group_name="soak_run",
    owners=OWNERS,
    kinds={"python"},
    tags=NEEDS_PLATFORM,
    code_version=MEASURED_AS,
    pool=SOAK_TARGET_POOL,
)
def provision(context: dg.AssetExecutionContext, config: SoakConfig, harness: Harness) -> dg.Output[ProvisionedRun]:
    """The frozen plan, and the tenants, users, agents and limits that it needs on the target.

    Asks the target first what can be measured. Materialising it again keeps the plan and finds the same tenants.
    """
    with load_stage(context, harness) as surroundings:
        provisioned = stage.provision(surroundings, config.request())
        return dg.Output(provisioned, metadata=provision_metadata(provisioned, surroundings.plan))
