"""Where the evidence stands, and why some of it is not there.

Owns the names of the evidence files as a result cites them, the reasons that preflight gave for what a target cannot
offer, and what had not been written when the platform was read.
"""

from __future__ import annotations

from collections.abc import Iterable

from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.stage_outputs import Capability

LATENCY_FILE = "latency.json"
CHAIN_FILE = "chain_verify.json"
RECONCILE_FILE = "reconcile.json"
REQUESTS = "requests"
TELEMETRY = "telemetry"

EVENTS_WAITING = "events_waiting"
"""Figure of a finding that stays open because audit rows were still to be written."""


def stage_file(evidence: RunEvidence, stage: str) -> str:
    """The newest output of a stage, relative to the run folder."""
    return evidence.folder.output_path(stage).relative_to(evidence.folder.path).as_posix()


def why_missing(evidence: RunEvidence, stage: str) -> str:
    """Why a stage left no evidence, without the place where the run folder happens to be."""
    return evidence.folder.relative(evidence.missing.get(stage, "it left no output"))


def unavailable(evidence: RunEvidence, *capabilities: str) -> str:
    """Why the target cannot offer the first of these capabilities that preflight found missing; empty when it can."""
    return "" if evidence.provision is None else missing_capability(evidence.provision.capabilities, *capabilities)


def missing_capability(found: Iterable[Capability], *names: str) -> str:
    """Why the first of these capabilities is not available, of what preflight found; empty when none is missing."""
    for capability in found:
        if capability.name in names and not capability.available:
            return f"{capability.name} is not available: {capability.reason}"
    return ""


def events_waiting(evidence: RunEvidence) -> int:
    """Events that the audit worker had not written when the wait for the drain was over."""
    if evidence.platform_evidence is None:
        return 0
    return dialect_of(evidence.plan.target).queues.audit_events_in(evidence.platform_evidence.drain.left)
