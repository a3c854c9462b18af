"""Likely causes of a fan-out that went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.criterion import Diagnosis
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding

REVOCATION, CHAIN, GRAPH = "revocation", "chain", "graph"
"""What a finding is about (`Finding.about`); the rest is about the calls."""


def fan_out(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Agents that block or confuse each other."""
    wrong = {finding.about for finding in findings}
    if REVOCATION in wrong:
        return Diagnosis(
            "revocation_not_honoured",
            "The gateway decides from a cached permission after it was changed.",
            "Invalidate the agent's permission cache on all gateway workers before the change is acknowledged.",
        )
    if CHAIN in wrong:
        return Diagnosis(
            "chain_forked",
            "Concurrent calls wrote to the chain at once: its lock does not exclude.",
            "Check the chain lock in Redis: SET NX with an owner token, time to live, release only by its owner.",
        )
    if GRAPH in wrong:
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
