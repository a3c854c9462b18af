"""Causes of a fan-out or a teardown that went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.causes.figures import Diagnosis
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding


def fan_out(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Agents that block or confuse each other."""
    subjects = {finding.subject for finding in findings}
    if "revocation" in subjects or "re-grant" in subjects:
        return Diagnosis(
            "revocation_not_honoured",
            "The gateway decides from a cached permission after it was changed.",
            "Invalidate the agent's permission cache on all gateway workers before the change is acknowledged.",
        )
    if "chain" in subjects:
        return Diagnosis(
            "chain_forked",
            "Concurrent calls wrote to the chain at once: its lock does not exclude.",
            "Check the chain lock in Redis: SET NX with an owner token, time to live, release only by its owner.",
        )
    if "identity graph" in subjects:
        return Diagnosis(
            "graph_collides",
            "Concurrent events create nodes or edges twice, or are lost.",
            "Make nodes unique by tenant, type and external id, edges by request id, and insert with ON CONFLICT.",
        )
    return Diagnosis(
        "concurrent_calls_block",
        "Concurrent calls of one tenant block or fail: a lock is never released, or a pool is too small.",
        "Look for the chain lock's time to live, and for pool waiters during the fan-out.",
    )


def teardown(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """A tenant that is still served, or load that goes on."""
    lever = "the stop lever" if evidence.teardown is None else evidence.teardown.lever
    if any(finding.subject == "load after the block" for finding in findings):
        return Diagnosis(
            "load_after_block",
            "The load generator went on after the tenants were blocked.",
            "Check for load processes that are left over, and the log of the load supervisor.",
        )
    return Diagnosis(
        "stop_lever_ignored",
        f"The platform does not honour {lever}: it is ignored, cached, or falls back to a default limit.",
        "Check how long the gateway caches tenant limits, and whether 0 is taken as unlimited; use the kill switch as "
        "the target's stop_lever until then.",
    )
