"""Synthetic runs that are judged and reported, for the tests of the report as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from soak_pipeline.criteria.documents import chain_document, fairness_document, latency_document, reconcile_document
from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.write import write_report
from soak_pipeline_tests.evidence_factory import Defect, make_run


def documents_of(evidence: RunEvidence) -> Documents:
    """Every document of a run."""
    return Documents(
        latency=latency_document(evidence),
        comparison=fairness_document(evidence),
        chain_verify=chain_document(evidence),
        reconcile=reconcile_document(evidence),
    )


def reported_run(
    reports: Path,
    *,
    profile: str | Profile = "smoke",
    defects: Iterable[Defect] = (),
    tenants: Mapping[str, float] | None = None,
    noisy: str = "",
) -> tuple[RunFolder, FinalVerdict]:
    """A synthetic run, judged and reported."""
    folder = make_run(reports, profile=profile, defects=defects, tenants=tenants, noisy=noisy)
    evidence = read_evidence(folder)
    return folder, write_report(evidence, judge_run(evidence), documents_of(evidence), folder)
