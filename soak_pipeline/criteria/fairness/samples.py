"""The request records of the fairness windows, per quiet tenant and window, ready to be compared.

Owns the selection: latencies are of settled executed calls from the intended start, those without an answer at the
timeout; counts are of all requests of a window, since an error while it settles is an error too. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.analysis.fairness import LookPlan
from soak_pipeline.criteria.latency.samples import sample_latencies_ms, sample_mask
from soak_pipeline.criteria.windows import FairnessWindows, WindowOfSession, WindowPair, fairness_windows
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.traffic import Kind, Outcome, Phase

JUDGED_KIND = Kind.ALLOWED
MINIMUM_SAMPLES = 100
"""Fewest samples of a window: below it, p99 is the maximum."""

_PHASES = (Phase.BASELINE, Phase.BURST)


@dataclass(frozen=True, slots=True)
class WindowSamples:
    """One tenant's samples of one window (ms), and when they were due (seconds since the epoch)."""

    times_s: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    service_ms: NDArray[np.float64]


_EMPTY = WindowSamples(np.empty(0), np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True)
class TenantWindows:
    """What one tenant sent in the fairness windows.

    Attributes:
        samples: per (session, window index).
        requests, errors: requests of all its windows and those without the right answer, per phase.
        unanswered: requests without any answer, per phase.
    """

    tenant: str
    samples: Mapping[tuple[str, int], WindowSamples]
    requests: Mapping[Phase, int]
    errors: Mapping[Phase, int]
    unanswered: Mapping[Phase, int]

    def of(self, entry: WindowOfSession) -> WindowSamples:
        """Samples of one window; empty when there is none."""
        return self.samples.get((entry.session, entry.window.index), _EMPTY)

    def pooled(self, windows: Iterable[WindowOfSession]) -> WindowSamples:
        """Samples of several windows as one."""
        parts = [self.of(entry) for entry in windows]
        if not parts:
            return _EMPTY
        return WindowSamples(
            np.concatenate([part.times_s for part in parts]),
            np.concatenate([part.latency_ms for part in parts]),
            np.concatenate([part.service_ms for part in parts]),
        )

    def latencies_of(self, pair: WindowPair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Baseline and burst latencies of one pair (ms)."""
        return self.of(pair.baseline).latency_ms, self.of(pair.burst).latency_ms


def look_plan(plan: Plan) -> LookPlan:
    """The looks that were decided on before the first pair."""
    return LookPlan(plan.profile.fairness.pairs_by_look)


def quiet_tenants(plan: Plan) -> list[str]:
    """Every tenant that the noisy one must not harm, in the plan's order."""
    return [tenant.name for tenant in plan.quiet_tenants]


def tenant_windows(plan: Plan, requests: RequestTable, looks: int) -> tuple[FairnessWindows, dict[str, TenantWindows]]:
    """The judged windows of some looks, and what each tenant sent in them."""
    windows = fairness_windows(plan, looks)
    names = [tenant.name for tenant in plan.tenants]
    if not len(requests) or not looks:
        return windows, {name: _of_tenant(plan, name, requests, None) for name in names}
    sessions = {entry.session for phase in _PHASES for entry in windows.of_phase(phase)}
    part = requests.take(requests.where(phase=_PHASES, session=sessions))
    return windows, {name: _of_tenant(plan, name, part, part.take(part.where(tenant=name))) for name in names}


def _of_tenant(plan: Plan, name: str, table: RequestTable, rows: RequestTable | None) -> TenantWindows:
    if rows is None:
        zero = dict.fromkeys(_PHASES, 0)
        return TenantWindows(name, {}, zero, zero, zero)
    counts = {}
    for what, mask in (
        ("requests", np.ones(len(rows), dtype=bool)),
        ("errors", ~rows.where(outcome=Outcome.OK)),
        ("unanswered", rows.where(outcome=(Outcome.TIMEOUT, Outcome.TRANSPORT_ERROR))),
    ):
        counts[what] = {phase: int((mask & rows.where(phase=phase)).sum()) for phase in _PHASES}
    samples = rows.take(rows.where(kind=JUDGED_KIND) & rows.columns["settled"] & sample_mask(rows))
    latency_ms, service_ms, _ = sample_latencies_ms(plan, samples)
    times_s = samples.columns["intended_us"].astype(np.float64) / 1e6
    key = samples.columns["session"].astype(np.int64) * 100_000 + samples.columns["window"]
    order = np.argsort(key, kind="stable")
    present, starts = np.unique(key[order], return_index=True)
    by_window = {}
    for value, chosen in zip(present, np.split(order, starts[1:]), strict=True):
        session, window = divmod(int(value), 100_000)
        by_window[table.labels["session"][session], window] = WindowSamples(
            times_s[chosen], latency_ms[chosen], service_ms[chosen]
        )
    return TenantWindows(name, by_window, counts["requests"], counts["errors"], counts["unanswered"])
