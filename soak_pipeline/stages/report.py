"""The verdict and everything a person or a gate reads of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from soak_pipeline.criteria.documents import (
    chain_document,
    fairness_document,
    latency_document,
    reconcile_document,
)
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.thresholds import with_overrides
from soak_pipeline.model.verdict import Judgement
from soak_pipeline.report.documents import Documents
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.target_lock import release_target

D = TypeVar("D")


def report(context: StageContext, judgement: Judgement) -> FinalVerdict:
    """Writes the run's report; the target is free again afterwards."""
    release_target(context.plan.target.name, context.environment)
    return report_folder(context.folder, judgement)


def report_folder(folder: RunFolder, judgement: Judgement) -> FinalVerdict:
    """Writes the report of a stored run from its evidence and a judgement of it.

    Raises:
        EvidenceUnreadable: the folder has no readable plan, or its evidence holds values that no run can leave.
    """
    # Each process of Dagster loads this file, and only the one that draws should pay a second for Matplotlib.
    from soak_pipeline.report.write import write_report

    thresholds = with_overrides(folder.read_plan().thresholds, judgement.thresholds_changed)
    evidence = read_evidence(folder, thresholds)
    documents = Documents(
        latency=_readable(latency_document, evidence),
        comparison=_readable(fairness_document, evidence),
        chain_verify=_readable(chain_document, evidence),
        reconcile=_readable(reconcile_document, evidence),
    )
    try:
        return write_report(evidence, judgement, documents, folder)
    except (ValueError, ArithmeticError) as error:
        raise EvidenceUnreadable(
            f"{folder.path}: damaged evidence cannot be reported: {error}; `soak judge` says which, run it again"
        ) from error


def _readable(document: Callable[[RunEvidence], D], evidence: RunEvidence) -> D | None:
    """A document, or nothing where the evidence for it is damaged: its criteria have said so already."""
    try:
        return document(evidence)
    except (EvidenceUnreadable, ValueError, ArithmeticError):
        return None
