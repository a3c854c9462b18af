"""Assets `baseline` and `burst`: one operation, because their windows alternate."""

import dagster as dg

from soak_pipeline.defs.assets.settings import MEASURED_AS, OWNERS, SENDS_LOAD
from soak_pipeline.defs.metadata.stages import phase_metadata
from soak_pipeline.defs.partitions import SOAK_TARGET_POOL, soak_runs
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.step import load_stage
from soak_pipeline.model.stage_outputs import PhaseEvidence, ProvisionedRun
from soak_pipeline.stages import fairness as stage


def _phase(description: str) -> dg.AssetOut:
    return dg.AssetOut(
        dagster_type=PhaseEvidence,
        description=description,
        group_name="soak_run",
        owners=OWNERS,
        kinds={"python", "locust"},
        tags=SENDS_LOAD,
        code_version=MEASURED_AS,
    )


@dg.multi_asset(
    outs={
        "baseline": _phase("Every tenant's latency while the noisy tenant is at rest."),
        "burst": _phase("Every tenant's latency while the noisy tenant bursts."),
    },
    partitions_def=soak_runs,
    pool=SOAK_TARGET_POOL,
)
def fairness_windows(
    context: dg.AssetExecutionContext, provision: ProvisionedRun, harness: Harness
) -> tuple[dg.Output[PhaseEvidence], dg.Output[PhaseEvidence]]:
    """Interleaved windows with the noisy tenant at rest and in burst, until that answers the question."""
    with load_stage(context, harness) as surroundings:
        baseline, burst = stage.measure_fairness(surroundings, provision)
        return (
            dg.Output(baseline, output_name="baseline", metadata=phase_metadata(baseline)),
            dg.Output(burst, output_name="burst", metadata=phase_metadata(burst)),
        )
