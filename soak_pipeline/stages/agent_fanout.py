"""Many agents of one tenant at once, some of which lose and regain a permission."""

from __future__ import annotations

from soak_pipeline.load.session import run_fanout
from soak_pipeline.model.stage_outputs import FanoutEvidence, ProvisionedRun
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.load_session import claim_target


def fan_out(context: StageContext, provisioned: ProvisionedRun) -> FanoutEvidence:
    """Lets every agent of the fan-out call at the same time; see `FanoutEvidence` for what is recorded."""
    resolved = claim_target(context)
    return run_fanout(
        plan=context.plan,
        provisioned=provisioned,
        run_dir=context.folder.path,
        gateway_url=resolved.gateway_url,
        environment=context.environment,
        still_wanted=context.still_wanted,
        on_progress=context.on_progress,
    )
