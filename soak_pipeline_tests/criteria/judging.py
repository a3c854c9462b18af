"""Shortcuts of the criteria's tests: judge a synthetic run, look at one result."""

from __future__ import annotations

from pathlib import Path

import msgspec

from soak_pipeline.criteria.registry import CRITERIA, judged_safely
from soak_pipeline.evidence.bundle import RunEvidence, read_evidence
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.verdict import CriterionResult, Finding
from soak_pipeline_tests.evidence_factory import Defect, make_run
from soak_pipeline_tests.policies import default_thresholds, profile_with

SMALL = profile_with(
    {"name": "small", "users": 60, "soak_s": 45.0, "warmup_s": 5.0, "pace_s": 1.0},
    {
        "quiet_users": 30,
        "quiet_pace_s": 0.5,
        "noisy_users_baseline": 5,
        "noisy_users_burst": 50,
        "noisy_pace_s": 0.5,
        "window_s": 4.0,
        "settle_s": 0.5,
        "warmup_s": 3.0,
        "pairs_by_look": (8, 12),
    },
)
"""The run that these tests judge; its own numbers, so that tuning the built-in profiles moves no expected value."""

HALF_HOUR = msgspec.structs.replace(SMALL, soak_s=1_800.0, pace_s=4.0)
"""A soak that is long enough to ask about leaks, with the load of a small run."""


def evidence_of(
    tmp_path: Path,
    *defects: Defect,
    profile: str | Profile = SMALL,
    seed: int = 1,
    looks: int = 1,
    **limits: float,
) -> RunEvidence:
    """Evidence of a synthetic run with some defects, to be judged under changed limits."""
    folder = make_run(tmp_path, profile=profile, defects=defects, seed=seed, looks=looks)
    return read_evidence(folder, msgspec.structs.replace(default_thresholds(), **limits))


def judged(
    tmp_path: Path,
    name: str,
    *defects: Defect,
    profile: str | Profile = SMALL,
    seed: int = 1,
    looks: int = 1,
    **limits: float,
) -> CriterionResult:
    """One criterion's result on a synthetic run."""
    evidence = evidence_of(tmp_path, *defects, profile=profile, seed=seed, looks=looks, **limits)
    return result_of(evidence, name)


def result_of(evidence: RunEvidence, name: str) -> CriterionResult:
    """One criterion's result; the others are not asked, which would take most of the time."""
    return judged_safely(next(criterion for criterion in CRITERIA if criterion.name == name), evidence)


def finding_of(result: CriterionResult, subject: str) -> Finding:
    """The finding about one subject."""
    return next(finding for finding in result.findings if finding.subject == subject)
