"""The latencies that may be judged, grouped by phase, tenant and kind.

Owns what counts as a sample. Settled requests that got the right answer count with what they took. A request that got
no whole answer counts with at least the request timeout: leaving it out would let a platform look quick by not
answering. Every other outcome is an answer of another kind, mostly a quick refusal, and never mixes with executed
calls; `decisions_are_correct` judges those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.criteria.request_counts import UNANSWERED, count_by
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.requests import Mask, RequestTable
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.traffic import Kind, Outcome, Phase

JUDGED_PHASES = (Phase.BASELINE, Phase.BURST, Phase.SOAK)
SHORTEST_LATENCY_MS = 0.001

_COLUMNS = ("phase", "tenant", "kind", "outcome", "intended_us", "start_us", "service_us")


@dataclass(frozen=True, slots=True)
class LatencyGroup:
    """Requests of one tenant and kind in one phase.

    Attributes:
        phase, tenant, kind: which.
        outcomes: settled requests by outcome.
        times_s: intended start of each sample, seconds since the run's epoch.
        latency_ms, service_ms: of each sample, from the intended and from the actual start.
        unanswered: samples without a whole answer.
    """

    phase: Phase
    tenant: str
    kind: Kind
    outcomes: dict[str, int]
    times_s: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    service_ms: NDArray[np.float64]
    unanswered: int

    @property
    def requests(self) -> int:
        """Settled requests of any outcome."""
        return sum(self.outcomes.values())


def latency_groups(
    evidence: RunEvidence, phases: Sequence[Phase] = JUDGED_PHASES, kinds: Iterable[Kind] = tuple(Kind)
) -> list[LatencyGroup]:
    """Every group that has requests, by phase, then tenant in the plan's order, then kind."""
    requests = evidence.requests
    if not len(requests):
        return []
    mask = requests.where(phase=phases, kind=kinds) & requests.columns["settled"]
    part = RequestTable({name: requests.columns[name][mask] for name in _COLUMNS}, requests.labels)
    labels = part.labels
    tenants, all_kinds = len(labels["tenant"]), len(labels["kind"])
    codes = part.columns
    key = (codes["phase"].astype(np.int16) * tenants + codes["tenant"]) * all_kinds + codes["kind"]
    # A stable sort of 16-bit integers is a radix sort: linear in the number of requests.
    order = np.argsort(key.astype(np.uint16), kind="stable")
    present, starts = np.unique(key[order], return_index=True)
    ends = [*starts[1:], len(order)]
    groups = []
    for value, start, end in zip(present, starts, ends, strict=True):
        rest, kind = divmod(int(value), all_kinds)
        phase, tenant = divmod(rest, tenants)
        chosen = order[start:end]
        rows = RequestTable({name: column[chosen] for name, column in codes.items()}, labels)
        groups.append(
            _group(
                evidence.plan,
                Phase(labels["phase"][phase]),
                labels["tenant"][tenant],
                Kind(labels["kind"][kind]),
                rows,
            )
        )
    rank = {phase: position for position, phase in enumerate(JUDGED_PHASES)}
    place = {name: position for position, name in enumerate(evidence.plan.tenant_names)}
    return sorted(
        groups,
        key=lambda group: (
            rank.get(group.phase, 99),
            place.get(group.tenant, len(place)),
            group.tenant,
            list(Kind).index(group.kind),
        ),
    )


def sample_mask(requests: RequestTable) -> Mask:
    """Rows that count as latency samples, whatever their phase."""
    return requests.where(outcome=(Outcome.OK, *UNANSWERED))


def sample_latencies_ms(plan: Plan, samples: RequestTable) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Latency and service time of samples (ms), those without an answer at the timeout at least, and how many."""
    latency_ms = np.maximum(samples.latency_ms, SHORTEST_LATENCY_MS)
    service_ms = np.maximum(samples.service_ms, SHORTEST_LATENCY_MS)
    unanswered = samples.where(outcome=UNANSWERED)
    count = int(unanswered.sum())
    if count:
        least_ms = plan.profile.request_timeout_s * 1_000.0
        latency_ms[unanswered] = np.maximum(latency_ms[unanswered], least_ms)
        service_ms[unanswered] = np.maximum(service_ms[unanswered], least_ms)
    return latency_ms, service_ms, count


def _group(plan: Plan, phase: Phase, tenant: str, kind: Kind, rows: RequestTable) -> LatencyGroup:
    samples = rows.take(sample_mask(rows))
    latency_ms, service_ms, unanswered = sample_latencies_ms(plan, samples)
    return LatencyGroup(
        phase=phase,
        tenant=tenant,
        kind=kind,
        outcomes=count_by(rows, "outcome"),
        times_s=samples.columns["intended_us"].astype(np.float64) / 1e6,
        latency_ms=latency_ms,
        service_ms=service_ms,
        unanswered=unanswered,
    )
