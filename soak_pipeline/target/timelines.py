"""Counts a tenant's flight timelines by status."""

from __future__ import annotations

from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.stage_outputs import TimelineEvidence
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, reading


def read_timelines(resolved: ResolvedTarget, tenant: TenantPlan) -> TimelineEvidence:
    """A tenant's timelines; a soak tenant lives for one run, so all of them are of the run.

    Args:
        resolved: the target.
        tenant: which.

    Returns:
        Counts; None with the reason where they cannot be read.
    """
    words = resolved.dialect.timelines
    try:
        with reading(resolved.dsns, "flight_recorder") as connection:
            by_status = dict(connection.execute(words.count_by_status, [tenant.tenant_id]).fetchall())
    except Unreadable as reason:
        return TimelineEvidence(tenant=tenant.name, reason=str(reason))
    return TimelineEvidence(
        tenant=tenant.name,
        total=sum(by_status.values()),
        in_progress=by_status.get(words.in_progress, 0),
        recovered_backfill=by_status.get(words.recovered, 0),
    )
