"""The live figures of a session from what its workers report once a second: pure, and flat in time.

Owns the sliding windows. Never looks into the records on disk, and nothing here is evidence.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping

from soak_pipeline.model.plan import LoadSession
from soak_pipeline.model.progress import Progress

LATENCY_WINDOW_S = 10.0
RATE_WINDOW_S = 5.0


class LiveFigures:
    """Collects the reports of all workers of one session.

    Args:
        session: the session.
    """

    def __init__(self, session: LoadSession) -> None:
        self._session = session
        self._users: dict[int, int] = {}
        self._outcomes: dict[int, Mapping[str, int]] = {}
        self._latencies: deque[tuple[float, Mapping[str, bytes]]] = deque()
        self._totals: deque[tuple[float, int]] = deque()

    def take(
        self, now_s: float, worker: int, users: int, outcomes: Mapping[str, int], latency_us: Mapping[str, bytes]
    ) -> None:
        """Takes one report: users logged in, outcomes so far, and the latencies since the last report."""
        self._users[worker] = users
        self._outcomes[worker] = outcomes
        if latency_us:
            self._latencies.append((now_s, latency_us))

    @property
    def users(self) -> int:
        """Users that are logged in."""
        return sum(self._users.values())

    def progress(self, now_s: float, offset_s: float | None) -> Progress:
        """The figures now.

        Args:
            now_s: a monotonic clock.
            offset_s: since time zero; None before it is known.
        """
        outcomes: dict[str, int] = {}
        for counts in self._outcomes.values():
            for outcome, count in counts.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
        total = sum(outcomes.values())
        self._totals.append((now_s, total))
        while len(self._totals) > 2 and self._totals[0][0] < now_s - RATE_WINDOW_S:
            self._totals.popleft()
        while self._latencies and self._latencies[0][0] < now_s - LATENCY_WINDOW_S:
            self._latencies.popleft()
        since_s, before = self._totals[0]
        phase, window = self._place(offset_s)
        return Progress(
            session=self._session.name,
            phase=phase,
            window=window,
            windows=len(self._session.windows),
            users=self.users,
            requests_per_second=(total - before) / (now_s - since_s) if now_s > since_s else 0.0,
            latency_ms_p95=self._p95_ms(),
            outcomes={outcome: count for outcome, count in outcomes.items() if count},
            seconds_left=max(0.0, self._session.duration_s - (offset_s or 0.0)),
        )

    def _place(self, offset_s: float | None) -> tuple[str, int]:
        if offset_s is None or offset_s < 0:
            return "starting", 0
        for window in self._session.windows:
            if offset_s < window.end_s:
                return window.phase.value, window.index
        return "ended", len(self._session.windows) - 1

    def _p95_ms(self) -> dict[str, float]:
        merged: dict[str, array[int]] = {}
        for _, by_tenant in self._latencies:
            for tenant, packed in by_tenant.items():
                merged.setdefault(tenant, array("Q")).frombytes(packed)
        return {tenant: percentile(values, 95) / 1e3 for tenant, values in sorted(merged.items())}


def percentile(values: array[int], percent: int) -> int:
    """The smallest value that at least `percent` % of the values do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
