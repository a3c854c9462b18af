"""The verdict and everything a person or a gate reads of it."""

from __future__ import annotations

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.verdict import Judgement
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.target_lock import release_target


def report(context: StageContext, judgement: Judgement) -> FinalVerdict:
    """Writes the run's report; the target is free again afterwards."""
    release_target(context.plan.target.name, context.environment)
    return report_folder(context.folder, judgement)


def report_folder(folder: RunFolder, judgement: Judgement) -> FinalVerdict:
    """Writes the report of a stored run from its evidence and a judgement of it."""
    raise NotImplementedError
