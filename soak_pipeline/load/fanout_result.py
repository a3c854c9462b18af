"""What the fan-out found, on its way from its process to the stage."""

from __future__ import annotations

import msgspec

from soak_pipeline.load.spec import LoadSpec
from soak_pipeline.model.stage_outputs import FanoutEvidence, RevocationEvidence, SessionReport, StageStatus


class FanoutResult(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of a fan-out; see `FanoutEvidence`."""

    calls: int
    unanswered: int
    revocations: tuple[RevocationEvidence, ...]


def evidence_of(spec: LoadSpec, report: SessionReport, result: FanoutResult | None) -> FanoutEvidence:
    """The evidence of the stage.

    Args:
        spec: the session.
        report: how the session went.
        result: what the process left; None when it left nothing, which cannot be complete.
    """
    fanout = spec.plan.profile.fanout
    status, reason = report.status, report.reason
    if result is None and status is StageStatus.COMPLETE:
        status, reason = StageStatus.FAILED, "the fan-out process left no result"
    return FanoutEvidence(
        status=status,
        reason=reason,
        tenant=fanout.tenant,
        agents=fanout.agents,
        calls=result.calls if result else 0,
        unanswered=result.unanswered if result else 0,
        revocations=result.revocations if result else (),
        session=report,
    )
