"""Counts of a tenant's audit rows by agent, tool, action and decision, kept up to date from the rows that are new.

Owns the running counts of one worker process. Since audit rows are only ever appended, in the order of their sequence,
each refresh reads just the rows after the last one counted; its cost does not grow with the chain.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

#: A rollup is refreshed at most this often.
REFRESH_INTERVAL_S = 1.0
HIGH_RISK = 0.70
MEDIUM_RISK = 0.30
ALLOWED = frozenset({"allow", "monitor", "throttle"})

_NEW_ROWS = """
    SELECT agent_id::text, coalesce(tool, '') AS tool, action, decision, count(*) AS row_count,
           max(chain_sequence) AS last_sequence,
           count(risk) AS risk_count, coalesce(sum(risk), 0) AS risk_sum,
           count(*) FILTER (WHERE risk >= $3) AS high, count(*) FILTER (WHERE risk >= $4 AND risk < $3) AS medium
    FROM (SELECT agent_id, tool, action, decision, chain_sequence, (metadata_json->>'risk')::float8 AS risk
          FROM audit_logs WHERE tenant_id = $1 AND chain_sequence > $2) AS fresh
    GROUP BY 1, 2, 3, 4
"""


class Kind(NamedTuple):
    agent_id: str
    tool: str
    action: str
    decision: str


@dataclass(slots=True)
class Rollup:
    """The counts of one tenant up to `last_sequence`."""

    last_sequence: int = 0
    counts: Counter[Kind] = field(default_factory=Counter)
    risk_count: int = 0
    risk_sum: float = 0.0
    risk_high: int = 0
    risk_medium: int = 0
    refreshed_at: float = 0.0
    refreshing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def count(
        self,
        *,
        agent_id: str | None = None,
        tool: str | None = None,
        action: str | None = None,
        decision: str | None = None,
    ) -> int:
        """Rows that agree with all that is given."""
        wanted = (agent_id, tool, action, decision)
        return sum(
            count
            for kind, count in self.counts.items()
            if all(want is None or want == have for want, have in zip(wanted, kind, strict=True))
        )


class Rollups:
    """The rollups of all tenants asked for; at most `capacity`, the one unused for longest is dropped first."""

    def __init__(self, pool: asyncpg.Pool, capacity: int = 200) -> None:
        self._pool = pool
        self._capacity = capacity
        self._rollups: dict[str, Rollup] = {}

    async def current(self, tenant_id: str) -> Rollup:
        """A tenant's counts, at most REFRESH_INTERVAL_S old."""
        rollup = self._rollups.pop(tenant_id, None) or Rollup()
        self._rollups[tenant_id] = rollup
        if len(self._rollups) > self._capacity:
            del self._rollups[next(iter(self._rollups))]
        async with rollup.refreshing:
            if time.monotonic() - rollup.refreshed_at > REFRESH_INTERVAL_S:
                await self._refresh(tenant_id, rollup)
        return rollup

    async def _refresh(self, tenant_id: str, rollup: Rollup) -> None:
        rows = await self._pool.fetch(_NEW_ROWS, tenant_id, rollup.last_sequence, HIGH_RISK, MEDIUM_RISK)
        for row in rows:
            rollup.counts[Kind(row["agent_id"], row["tool"], row["action"], row["decision"])] += row["row_count"]
            rollup.risk_count += row["risk_count"]
            rollup.risk_sum += row["risk_sum"]
            rollup.risk_high += row["high"]
            rollup.risk_medium += row["medium"]
            rollup.last_sequence = max(rollup.last_sequence, row["last_sequence"])
        rollup.refreshed_at = time.monotonic()


def summary_of(rollup: Rollup) -> dict[str, Any]:
    """The figures of `/audit/logs/summary` that come from the counts."""
    total = sum(rollup.counts.values())
    allowed = sum(count for kind, count in rollup.counts.items() if kind.decision in ALLOWED)
    denied_by_agent: Counter[str] = Counter()
    calls_by_agent: Counter[str] = Counter()
    tools: Counter[str] = Counter()
    for kind, count in rollup.counts.items():
        calls_by_agent[kind.agent_id] += count
        tools[kind.tool] += count if kind.tool else 0
        denied_by_agent[kind.agent_id] += 0 if kind.decision in ALLOWED else count
    high_risk = sum(1 for agent, calls in calls_by_agent.items() if denied_by_agent[agent] * 2 > calls)
    low = rollup.risk_count - rollup.risk_high - rollup.risk_medium
    return {
        "total_calls": total,
        "total_requests": total,
        "total_denials": total - allowed,
        "blocked_requests": total - allowed,
        "allowed_requests": allowed,
        "threats_blocked": sum(count for kind, count in rollup.counts.items() if kind.decision in ("block", "kill")),
        "active_agents_count": len(calls_by_agent),
        "high_risk_agents": high_risk,
        "most_used_tool": tools.most_common(1)[0][0] if tools else None,
        "avg_risk_score": round(rollup.risk_sum / rollup.risk_count, 4) if rollup.risk_count else None,
        "risk_distribution": {"low": low, "medium": rollup.risk_medium, "high": rollup.risk_high},
    }
