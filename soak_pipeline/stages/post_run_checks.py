"""Judgement: a pure function of the run folder."""

from __future__ import annotations

from collections.abc import Mapping

from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.thresholds import with_overrides
from soak_pipeline.model.verdict import Judgement
from soak_pipeline.stages.context import StageContext


def judge(context: StageContext, thresholds_changed: Mapping[str, float]) -> Judgement:
    """Judges the run by its own plan's thresholds, but for those that are changed.

    Raises:
        BadInput: an unknown threshold or a bad value.
        EvidenceUnreadable: the run has no readable plan.
    """
    return judge_folder(context.folder, thresholds_changed)


def judge_folder(folder: RunFolder, thresholds_changed: Mapping[str, float]) -> Judgement:
    """Judges a stored run, with some limits changed.

    Raises:
        BadInput: an unknown threshold or a bad value.
        EvidenceUnreadable: the folder has no readable plan.
    """
    thresholds = with_overrides(folder.read_plan().thresholds, thresholds_changed)
    return judge_run(read_evidence(folder, thresholds), dict(thresholds_changed))
