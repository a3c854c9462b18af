"""A resource's time series made ready for judgement: cleaned, cut at restarts, resampled, followed along its troughs.

Owns these preparations. It never fills a gap with an invented value and never estimates a trend.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import FloatArray

# Trend tests compare every point with every other; 240 points resolve a run, and neighbours closer than a quarter
# minute mostly repeat each other. A run of a few minutes is still resolved by 30 points, or nothing could be said.
SHORTEST_STEP_S = 15.0
STEPS_OF_A_SHORT_RUN = 30.0
STEPS_PER_RUN = 240.0
# A process start time is computed from boot time plus ticks and jitters by less than this.
START_TIME_JITTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Series:
    """Finite values at increasing times in seconds; `step_s` is the distance of neighbours without a gap."""

    times_s: FloatArray
    values: FloatArray
    step_s: float

    @property
    def duration_s(self) -> float:
        """Seconds from the first point to the last; 0 for fewer than two points."""
        return float(self.times_s[-1] - self.times_s[0]) if self.times_s.size > 1 else 0.0

    @property
    def adjacent(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """For each two neighbours, whether they are really one step apart and not across a gap."""
        return np.diff(self.times_s) <= 1.5 * self.step_s

    def after(self, start_s: float) -> Series:
        """The part from `start_s` on."""
        kept = self.times_s >= start_s
        return Series(self.times_s[kept], self.values[kept], self.step_s)


def cleaned(times_s: ArrayLike, values: ArrayLike) -> Series:
    """Sort by time and leave out samples that are NaN or infinite: a missed scrape is a gap, not a number.

    Raises ValueError for unequal lengths or times that are not finite.
    """
    times = np.asarray(times_s, dtype=np.float64)
    numbers = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or times.shape != numbers.shape:
        raise ValueError(f"times_s and values: shapes {times.shape} and {numbers.shape} must be equal vectors")
    if not np.isfinite(times).all():
        raise ValueError("times_s: every sample needs a finite time")
    kept = np.isfinite(numbers)
    times, numbers = times[kept], numbers[kept]
    order = np.argsort(times, kind="stable")
    times, numbers = times[order], numbers[order]
    step_s = float(np.median(np.diff(times))) if times.size > 1 else 0.0
    return Series(times, numbers, step_s)


def longest_process_life(
    times_s: ArrayLike, values: ArrayLike, process_start_s: ArrayLike | None
) -> tuple[FloatArray, FloatArray, int]:
    """Cut the series at every change of the process's start time and return the longest piece.

    A restart gives memory back and hides a leak, so pieces are never joined. NaN start times (a missed scrape) belong
    to the piece around them.

    Args:
        times_s, values: the samples.
        process_start_s: start time of the process at each sample, seconds on any clock; None where it is not known.

    Returns: times and values of the longest piece by time, and the number of restarts seen.
    """
    times = np.asarray(times_s, dtype=np.float64)
    numbers = np.asarray(values, dtype=np.float64)
    if process_start_s is None or times.size == 0:
        return times, numbers, 0
    starts = np.asarray(process_start_s, dtype=np.float64)
    if starts.shape != times.shape:
        raise ValueError(f"process_start_s: shape {starts.shape}, must equal that of times_s {times.shape}")
    order = np.argsort(times, kind="stable")
    times, numbers, starts = times[order], numbers[order], starts[order]
    known = np.flatnonzero(np.isfinite(starts))
    if known.size == 0:
        return times, numbers, 0
    jumps = known[1:][np.abs(np.diff(starts[known])) > START_TIME_JITTER_S]
    edges = np.concatenate(([0], jumps, [times.size])).astype(np.int64)
    lengths = [times[end - 1] - times[begin] for begin, end in pairwise(edges)]
    best = int(np.argmax(lengths))
    piece = slice(int(edges[best]), int(edges[best + 1]))
    return times[piece], numbers[piece], int(jumps.size)


def resampling_step_s(duration_s: float, sampling_step_s: float) -> float:
    """Step of the judged series: at least 15 s (1/30 of a run too short for it), at least 1/240 of the duration, never
    finer than the samples."""
    shortest_s = min(SHORTEST_STEP_S, duration_s / STEPS_OF_A_SHORT_RUN)
    return max(shortest_s, duration_s / STEPS_PER_RUN, sampling_step_s)


def resampled(series: Series) -> Series:
    """Median of the samples in each step, at the median of their times; empty steps stay gaps."""
    if series.times_s.size < 2:
        return series
    step_s = resampling_step_s(series.duration_s, series.step_s)
    slot = ((series.times_s - series.times_s[0]) / step_s + 1e-9).astype(np.int64)
    return Series(_median_by_slot(slot, series.times_s), _median_by_slot(slot, series.values), step_s)


def _median_by_slot(slot: np.ndarray[tuple[int], np.dtype[np.int64]], numbers: FloatArray) -> FloatArray:
    """Median of the numbers of each slot, in the order of the slots; thousands of calls of `np.median` take seconds."""
    ordered = numbers[np.lexsort((numbers, slot))]
    starts = np.concatenate(([0], np.flatnonzero(np.diff(slot)) + 1))
    counts = np.diff(np.append(starts, slot.size))
    medians: FloatArray = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2.0
    return medians


def coverage_share(series: Series) -> float:
    """Share (0..1) of the steps between the first and the last point that hold a value."""
    if series.times_s.size < 2 or series.step_s <= 0.0:
        return 0.0
    expected = round(series.duration_s / series.step_s) + 1
    return min(1.0, series.times_s.size / expected)


def sawtooth_drops(series: Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Indices at which a sawtooth starts a new tooth; empty where the series is no sawtooth.

    A drop is a fall far outside the usual change between neighbours and a good part of the whole range. Garbage
    collectors and caches fall fast and rise slowly; a series that jumps up as often as it falls down is noise.
    """
    if series.values.size < 8:
        return np.empty(0, dtype=np.int64)
    change = np.diff(series.values)
    usual = float(np.median(change))
    spread = 1.4826 * float(np.median(np.abs(change - usual)))
    low, high = np.quantile(series.values, [0.05, 0.95])
    least = max(6.0 * spread, 0.3 * float(high - low))
    if least <= 0.0:
        return np.empty(0, dtype=np.int64)
    drops = np.flatnonzero(change - usual < -least) + 1
    leaps = int(np.count_nonzero(change - usual > least))
    return drops if drops.size > 2 * leaps else np.empty(0, dtype=np.int64)


def lower_envelope(series: Series, drops: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Series:
    """The lowest point of every tooth: what stays allocated after each clean-up.

    The part before the first drop counts only from its own lowest point if it follows a drop, so it is left out: its
    start is the start of observation, not a trough.
    """
    edges = [int(drop) for drop in drops] + [series.values.size]
    lowest = [begin + int(np.argmin(series.values[begin:end])) for begin, end in pairwise(edges)]
    times, values = series.times_s[lowest], series.values[lowest]
    step_s = float(np.median(np.diff(times))) if times.size > 1 else 0.0
    return Series(times, values, step_s)
