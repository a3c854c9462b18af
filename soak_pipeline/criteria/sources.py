"""Where the evidence stands, and why some of it is not there.

Owns the names of the evidence files as a result cites them, and the reasons that preflight gave for what a target
cannot offer.
"""

from __future__ import annotations

from soak_pipeline.evidence.bundle import RunEvidence

LATENCY_FILE = "latency.json"
CHAIN_FILE = "chain_verify.json"
RECONCILE_FILE = "reconcile.json"
COMPARISON_FILE = "comparison.json"
REQUESTS = "requests"
TELEMETRY_FILE = "telemetry.parquet"


def fairness_file(evidence: RunEvidence) -> str:
    """The fairness comparison, relative to the run folder."""
    return f"../../fairness/{evidence.plan.run_id}/{COMPARISON_FILE}"


def fairness_file_for_person(evidence: RunEvidence) -> str:
    """The fairness comparison as an operator looks for it."""
    return f"reports/fairness/{evidence.plan.run_id}/{COMPARISON_FILE}"


def stage_file(evidence: RunEvidence, stage: str) -> str:
    """The newest output of a stage, relative to the run folder."""
    return evidence.folder.output_path(stage).relative_to(evidence.folder.path).as_posix()


def why_missing(evidence: RunEvidence, stage: str) -> str:
    """Why a stage left no evidence, without the place where the run folder happens to be."""
    return evidence.folder.relative(evidence.missing.get(stage, "it left no output"))


def unavailable(evidence: RunEvidence, *capabilities: str) -> str:
    """Why the target cannot offer the first of these capabilities that preflight found missing; empty when it can."""
    if evidence.provision is None:
        return ""
    for capability in evidence.provision.capabilities:
        if capability.name in capabilities and not capability.available:
            return f"{capability.name} is not available: {capability.reason}"
    return ""
