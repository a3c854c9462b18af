"""Shortcuts of the criteria's tests: judge a synthetic run, look at one result."""

from __future__ import annotations

from pathlib import Path

import msgspec

from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.model.profile import PROFILES, Profile
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.verdict import CriterionResult, Finding
from soak_pipeline_tests.evidence_factory import Defect, make_run

HALF_HOUR: Profile = msgspec.structs.replace(PROFILES["smoke"], soak_s=1_800.0, pace_s=4.0)
"""A soak that is long enough to ask about leaks, with the load of a smoke run."""


def evidence_of(
    tmp_path: Path,
    *defects: Defect,
    profile: str | Profile = "smoke",
    seed: int = 1,
    looks: int = 1,
    **limits: float,
) -> RunEvidence:
    """Evidence of a synthetic run with some defects, to be judged under changed limits."""
    folder = make_run(tmp_path, profile=profile, defects=defects, seed=seed, looks=looks)
    return read_evidence(folder, msgspec.structs.replace(Thresholds(), **limits))


def judged(
    tmp_path: Path,
    name: str,
    *defects: Defect,
    profile: str | Profile = "smoke",
    seed: int = 1,
    looks: int = 1,
    **limits: float,
) -> CriterionResult:
    """One criterion's result on a synthetic run."""
    evidence = evidence_of(tmp_path, *defects, profile=profile, seed=seed, looks=looks, **limits)
    return result_of(evidence, name)


def result_of(evidence: RunEvidence, name: str) -> CriterionResult:
    """One criterion's result."""
    return next(result for result in judge_run(evidence).criteria if result.name == name)


def finding_of(result: CriterionResult, subject: str) -> Finding:
    """The finding about one subject."""
    return next(finding for finding in result.findings if finding.subject == subject)
