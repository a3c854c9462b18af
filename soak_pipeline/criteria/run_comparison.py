"""A candidate run against a reference run: better, same, worse or unknown, per tenant and metric.

Compares the soaks only, window by window, since the windows' spread is what tells a difference from noise. Two runs of
one release also differ by more than their windows show; how much, only stored runs can say. Never judges: a comparison
is news, not a criterion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.analysis.comparison import RunComparison, compare_runs
from soak_pipeline.criteria.latency.samples import LatencyGroup, latency_groups
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.documents import LatencyDocument
from soak_pipeline.model.traffic import Kind, Phase

WINDOWS = 12
FEWEST_SAMPLES = {0.5: 20, 0.95: 72, 0.99: 368}
"""Samples in a window below which its percentile says too little, by share (see the one-sided bounds in criteria)."""


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One metric of one tenant in two runs.

    Attributes:
        tenant, metric, unit: which.
        result: ratio candidate / reference with its interval, and the answer.
        reference, candidate: median over the windows, in `unit`; None where a run has none.
    """

    tenant: str
    metric: str
    unit: str
    result: RunComparison
    reference: float | None
    candidate: float | None


FEWEST_RUNS_FOR_SPREAD = 5

Spread = Mapping[tuple[str, str], float]
"""By tenant and metric: standard deviation of its logarithm between runs of one load."""

Metric = Callable[[LatencyGroup], NDArray[np.float64]]


def compare_evidence(
    reference: RunEvidence, candidate: RunEvidence, *, margin: float = 0.05, spread: Spread | None = None
) -> tuple[ComparedMetric, ...]:
    """Compares executed calls of the soak of two runs.

    Args:
        reference, candidate: of the same profile; else the figures mean nothing, which the caller must see to.
        margin: relative difference that counts as none.
        spread: between runs, from `spread_between_runs`; none where it is not known.

    Returns:
        Per tenant of the reference: p50, p95 and p99 from the intended start, and the rate of right answers.
    """
    before, after = _soak_groups(reference), _soak_groups(candidate)
    known = spread or {}
    return tuple(
        _compared(
            tenant.name, name, unit, metric, larger_is_worse, before, after, margin, known.get((tenant.name, name), 0.0)
        )
        for tenant in reference.plan.tenants
        for name, unit, metric, larger_is_worse in _metrics()
    )


def spread_between_runs(documents: Sequence[LatencyDocument]) -> Spread:
    """How much each figure of the soak differs from run to run; empty with fewer than five runs.

    From the differences of neighbours (von Neumann), so that a change of level or a drift over the runs counts little.
    The error of each run's own figure is in it, which makes it a little too large rather than too small.

    Args:
        documents: of runs of one load on one platform, oldest first.
    """
    if len(documents) < FEWEST_RUNS_FOR_SPREAD:
        return {}
    series: dict[tuple[str, str], list[float]] = {}
    for document in documents:
        for row in document.rows:
            if (row.phase, row.kind) != (Phase.SOAK.value, Kind.ALLOWED.value):
                continue
            figures = {
                "latency_ms_p50": row.latency_ms.p50.value,
                "latency_ms_p95": row.latency_ms.p95.value,
                "latency_ms_p99": row.latency_ms.p99.value,
                "answers_per_second": row.requests_per_second,
            }
            for metric, value in figures.items():
                if value:
                    series.setdefault((row.tenant, metric), []).append(math.log(value))
    return {
        key: math.sqrt(float(np.mean(np.square(np.diff(values)))) / 2.0)
        for key, values in series.items()
        if len(values) >= FEWEST_RUNS_FOR_SPREAD
    }


def _metrics() -> Iterator[tuple[str, str, Metric, bool]]:
    for share in (0.50, 0.95, 0.99):
        yield f"latency_ms_p{share * 100:.0f}", "ms", _percentile_by_window(share), True
    yield "answers_per_second", "requests/s", _rate_by_window, False


def _soak_groups(evidence: RunEvidence) -> dict[str, LatencyGroup]:
    return {group.tenant: group for group in latency_groups(evidence, (Phase.SOAK,), (Kind.ALLOWED,))}


def _compared(
    tenant: str,
    name: str,
    unit: str,
    metric: Metric,
    larger_is_worse: bool,
    before: dict[str, LatencyGroup],
    after: dict[str, LatencyGroup],
    margin: float,
    between_runs_log_sd: float,
) -> ComparedMetric:
    values = [metric(groups[tenant]) if tenant in groups else np.empty(0) for groups in (before, after)]
    return ComparedMetric(
        tenant=tenant,
        metric=name,
        unit=unit,
        result=compare_runs(
            values[0],
            values[1],
            margin=margin,
            between_runs_log_sd=between_runs_log_sd,
            larger_is_worse=larger_is_worse,
        ),
        reference=float(np.median(values[0])) if values[0].size else None,
        candidate=float(np.median(values[1])) if values[1].size else None,
    )


def _windows(group: LatencyGroup) -> tuple[NDArray[np.intp], float]:
    """The window of each sample, and a window's length (seconds)."""
    start, end = float(group.times_s.min()), float(group.times_s.max())
    length_s = max((end - start) / WINDOWS, 1e-6)
    return np.minimum(((group.times_s - start) / length_s).astype(np.intp), WINDOWS - 1), length_s


def _percentile_by_window(share: float) -> Metric:
    def percentiles(group: LatencyGroup) -> NDArray[np.float64]:
        window, _ = _windows(group)
        values = (group.latency_ms[window == index] for index in range(WINDOWS))
        return np.array(
            [np.quantile(part, share, method="inverted_cdf") for part in values if part.size >= FEWEST_SAMPLES[share]],
            dtype=np.float64,
        )

    return percentiles


def _rate_by_window(group: LatencyGroup) -> NDArray[np.float64]:
    window, length_s = _windows(group)
    rates = np.bincount(window, minlength=WINDOWS) / length_s
    return rates[rates > 0.0]
