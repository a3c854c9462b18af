"""Likely causes of wrong decisions and of errors."""

from __future__ import annotations

from collections.abc import Sequence

from soak_pipeline.criteria.criterion import Diagnosis, total
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.verdict import Finding


def wrong_decisions(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    """Wrong decisions, or too many errors."""
    if total(findings, "wrongly_allowed"):
        return Diagnosis(
            "attack_allowed",
            "A call that policy must deny was executed: a rule is missing, a cache answered for another caller, or the "
            "policy engine fails open.",
            "Replay the operation named, with the request id in errors.log, against the policy; check what happens "
            "when the policy engine does not answer. Do not promote.",
        )
    if total(findings, "wrongly_denied"):
        return Diagnosis(
            "call_denied",
            "Legitimate calls were refused: an agent was quarantined, a permission was lost, or tokens ended early.",
            "Look up the reason of the denial in the audit row of the request named in errors.log.",
        )
    if total(findings, "client_error"):
        return Diagnosis(
            "call_called_malformed",
            "The platform calls well-formed requests malformed, or an endpoint is gone.",
            "Compare status and body of the sample in errors.log with the interface; check the target's dialect.",
        )
    outcomes = ("server_error", "timeout", "transport_error", "throttled", "malformed")
    kinds = {outcome: total(findings, outcome) for outcome in outcomes}
    most = max(kinds, key=lambda outcome: kinds[outcome])
    causes = {
        "server_error": Diagnosis(
            "server_errors",
            "Part of the platform fails under load.",
            "Look up the samples of errors.log in the gateway's log.",
        ),
        "timeout": Diagnosis(
            "calls_hang", "Calls hang.", "Look at pool waiters and locks at the times that errors.log gives."
        ),
        "transport_error": Diagnosis(
            "connections_break",
            "Connections end before the answer is whole.",
            "Look for restarts of gateway processes, and for answers that are shorter than their Content-Length.",
        ),
        "throttled": Diagnosis(
            "limit_too_low",
            "A rate limit is lower than the planned load, or is shared between tenants.",
            "Check rpm_limit and requests_per_second of the tenant, and limits that are not per tenant.",
        ),
        "malformed": Diagnosis(
            "bodies_broken",
            "Answers are cut short or rewritten on the way.",
            "Fetch the sample of errors.log again by hand; look for redaction that keeps the old Content-Length.",
        ),
    }
    return causes[most]
