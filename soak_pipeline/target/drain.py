"""Waits, bounded, until the platform has worked off what the load left, and says how long that took.

Owns the waiting. Never waits for one thing that another criterion judges: roots that never come do not make a drain
fail, they are missing roots.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import Drain
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, reading
from soak_pipeline.target.queues import Backlog, read_backlog

POLL_S = 1.0
ROOTS_TIMEOUT_S = 60.0


def wait_for_drain(
    resolved: ResolvedTarget,
    plan: Plan,
    *,
    load_stopped_unix_s: float,
    timeout_s: float,
    on_poll: Callable[[Backlog], None] = lambda backlog: None,
) -> Drain:
    """Waits until every stream and the outbox are empty.

    Args:
        resolved: the target.
        plan: its tenants' outbox rows count.
        load_stopped_unix_s: when the load had ended (unix seconds); the drain is counted from then.
        timeout_s: longest wait from now (seconds).
        on_poll: told of every look, so that a display can show what is left.

    Returns:
        `drained` is None when the queues cannot be seen.
    """
    tenant_ids = [tenant.tenant_id for tenant in plan.tenants]
    deadline = time.monotonic() + timeout_s
    looks = 0
    found: dict[str, int] = {}
    first_look_s = max(0.0, time.time() - load_stopped_unix_s)
    while True:
        backlog = read_backlog(resolved, tenant_ids)
        looks += 1
        found = found or backlog.left
        on_poll(backlog)
        if backlog.is_empty is not False or time.monotonic() >= deadline:
            break
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
    return Drain(
        drained=backlog.is_empty,
        # Empty at the first look: there is no later moment to name.
        seconds=first_look_s if looks == 1 and backlog.is_empty else max(0.0, time.time() - load_stopped_unix_s),
        left=backlog.left,
        first_look_s=first_look_s,
        found=found,
        reason=backlog.reason,
    )


def wait_for_roots(resolved: ResolvedTarget, plan: Plan, *, timeout_s: float = ROOTS_TIMEOUT_S) -> int | None:
    """Waits until the published roots reach every tenant's last row.

    Returns:
        Tenants whose roots do not, when the time is over; None when that cannot be seen.
    """
    tenant_ids = [tenant.tenant_id for tenant in plan.tenants]
    statement = resolved.dialect.roots.count_unsealed(resolved.dialect.audit_rows)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with reading(resolved.dsns, "audit", statement_timeout_s=30) as connection:
                row = connection.execute(statement, [tenant_ids]).fetchone()
        except Unreadable:
            return None
        unsealed = int(row[0]) if row else 0
        if not unsealed or time.monotonic() >= deadline:
            return unsealed
        time.sleep(POLL_S)
