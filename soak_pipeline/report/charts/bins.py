"""Honest down-sampling: exact percentiles of raw measurements per stretch of time.

A chart shows some sixty points of millions of requests. Each point is the exact percentile of the requests that were
due in its stretch, never a smoothed or thinned line, so a stall of one stretch stays visible. Never judges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_BINS = 60
FEW_BINS = 6
SAMPLES_PER_BIN = 100
"""So that a p99 is not simply the largest value."""
FEWEST_SAMPLES_PER_BIN = 20
"""So that a p95 is not, where there are too few samples for more than a handful of full bins."""

_LENGTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Stretches of equal length, the last one may be shorter.

    Attributes:
        edges_s: their ends, one more than there are bins (seconds).
        length_s: of one (seconds).
    """

    edges_s: Floats
    length_s: float

    @property
    def count(self) -> int:
        """How many."""
        return len(self.edges_s) - 1

    @property
    def middles_s(self) -> Floats:
        """Their middles (seconds)."""
        middles: Floats = (self.edges_s[:-1] + self.edges_s[1:]) / 2.0
        return middles

    @property
    def lengths_s(self) -> Floats:
        """The length of each (seconds)."""
        return np.diff(self.edges_s)

    def slots(self, times_s: Floats) -> NDArray[np.intp]:
        """The bin of each time; -1 outside of all."""
        slot = np.searchsorted(self.edges_s, times_s, side="right") - 1
        slot[times_s == self.edges_s[-1]] = self.count - 1
        slot[slot >= self.count] = -1
        return slot


def bins_for(start_s: float, end_s: float, samples: int | None = None, max_bins: int = MAX_BINS) -> Bins:
    """Bins over a stretch of time: as many as `max_bins`, fewer where samples are few.

    Args:
        start_s, end_s: the stretch; an empty one becomes one second.
        samples: measurements in it; each bin shall have `SAMPLES_PER_BIN` on average, or `FEWEST_SAMPLES_PER_BIN`
            where that leaves fewer than `FEW_BINS`. None when that does not matter.
        max_bins: upper limit.
    """
    end_s = max(end_s, start_s + 1.0)
    wanted = max_bins
    if samples is not None:
        few = min(FEW_BINS, samples // FEWEST_SAMPLES_PER_BIN)
        wanted = min(max_bins, max(samples // SAMPLES_PER_BIN, few, 1))
    ideal = (end_s - start_s) / wanted
    length = next((float(length) for length in _LENGTHS_S if length >= ideal), math.ceil(ideal / 3600) * 3600.0)
    length = min(length, end_s - start_s)
    count = max(1, round((end_s - start_s) / length + 0.49))
    edges = start_s + length * np.arange(count + 1, dtype=np.float64)
    edges[-1] = end_s
    if count > 1 and edges[-1] - edges[-2] < length / 2:
        edges = np.delete(edges, -2)
    return Bins(edges, length)


def counts_by_bin(bins: Bins, times_s: Floats) -> NDArray[np.int64]:
    """How many of the times lie in each bin."""
    slot = bins.slots(times_s)
    return np.bincount(slot[slot >= 0], minlength=bins.count).astype(np.int64)


def percentiles_by_bin(bins: Bins, times_s: Floats, values: Floats, shares: tuple[float, ...]) -> Floats:
    """Exact percentiles (order statistic of rank ceil(share * n)) of the values of each bin.

    Returns:
        One row per bin, one column per share; NaN where a bin has no value.
    """
    slot = bins.slots(times_s)
    inside = slot >= 0
    order = np.argsort(slot[inside], kind="stable")
    grouped = values[inside][order]
    ends = np.cumsum(np.bincount(slot[inside], minlength=bins.count))
    result = np.full((bins.count, len(shares)), np.nan)
    for index, (start, end) in enumerate(zip(np.concatenate(([0], ends[:-1])), ends, strict=True)):
        if end > start:
            result[index] = exact_percentiles(grouped[start:end], shares)
    return result


def exact_percentiles(values: Floats, shares: tuple[float, ...]) -> Floats:
    """The order statistics of rank ceil(share * n); always values that were measured."""
    ranks = np.array([max(0, math.ceil(share * len(values) - 1e-9) - 1) for share in shares])
    return np.asarray(np.partition(values, ranks)[ranks], dtype=np.float64)
