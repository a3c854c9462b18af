"""Where a sequence of runs changed its level.

Owns a divisive search with the energy statistic and a permutation test (E-divisive: Matteson and James, JASA 109,
2014; used for performance histories by Apache Otava). The method sees any change of distribution and assumes none. It
never judges whether a change is good. ADR 2 says why no library does this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import FloatArray, finite_vector, share_between_0_and_1

PERMUTATIONS = 999
"""The smallest p-value is one over one more than this, so `alpha` may be as small as 0.001."""


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A change: `index` is the first run of the new level, `before` and `after` the medians of the two levels."""

    index: int
    before: float
    after: float
    p_value: float


def change_points(
    values: ArrayLike, *, alpha: float = 0.01, fewest_runs: int = 4, seed: int = 20_140_301
) -> tuple[ChangePoint, ...]:
    """Change points of a sequence, in order.

    Args:
        values: one value per run, oldest first, any unit; at most some hundreds.
        alpha: chance of reporting a change where there is none.
        fewest_runs: fewest runs on either side of a change; a change is seen that many runs after it happened.
        seed: of the permutation test, so that the same history always gives the same answer.

    Raises ValueError for values that are not finite or `fewest_runs` below 2.
    """
    vector = finite_vector(values, "values")
    share_between_0_and_1(alpha, "alpha")
    if fewest_runs < 2:
        raise ValueError(f"fewest_runs: {fewest_runs}, must be at least 2")
    random = np.random.default_rng(seed)
    found: dict[int, float] = {}
    pending = [(0, int(vector.size))]
    while pending:
        begin, end = pending.pop()
        split = _best_split(vector[begin:end], fewest_runs)
        if split is None:
            continue
        p_value = _permutation_p_value(vector[begin:end], fewest_runs, split[1], random)
        if p_value > alpha:
            continue
        index = begin + split[0]
        found[index] = p_value
        pending += [(index, end), (begin, index)]
    edges = [0, *sorted(found), int(vector.size)]
    return tuple(
        ChangePoint(
            index=index,
            before=float(np.median(vector[edges[position] : index])),
            after=float(np.median(vector[index : edges[position + 2]])),
            p_value=found[index],
        )
        for position, index in enumerate(sorted(found))
    )


def _best_split(values: FloatArray, fewest_runs: int) -> tuple[int, float] | None:
    """Split with the largest energy statistic, and that statistic; None where the piece is too short or constant."""
    if values.size < 2 * fewest_runs:
        return None
    statistics = _energy_statistics(np.abs(values[:, None] - values[None, :]), fewest_runs)
    best = int(np.argmax(statistics))
    return (best + fewest_runs, float(statistics[best])) if statistics[best] > 0.0 else None


def _energy_statistics(distances: FloatArray, fewest_runs: int) -> FloatArray:
    """Energy statistic of every admissible split, from prefix sums of the distances."""
    n = distances.shape[0]
    sums = np.zeros((n + 1, n + 1))
    sums[1:, 1:] = distances.cumsum(axis=0).cumsum(axis=1)
    left = np.arange(fewest_runs, n - fewest_runs + 1)
    right = n - left
    within_left = sums[left, left]
    between = sums[left, n] - within_left
    within_right = sums[n, n] - within_left - 2.0 * between
    energy = (
        2.0 * between / (left * right) - within_left / (left * (left - 1.0)) - within_right / (right * (right - 1.0))
    )
    return np.asarray(left * right / n * energy, dtype=np.float64)


def _permutation_p_value(values: FloatArray, fewest_runs: int, observed: float, random: np.random.Generator) -> float:
    distances = np.abs(values[:, None] - values[None, :])
    exceeded = 0
    for _ in range(PERMUTATIONS):
        order = random.permutation(values.size)
        exceeded += float(_energy_statistics(distances[np.ix_(order, order)], fewest_runs).max()) >= observed
    return (exceeded + 1.0) / (PERMUTATIONS + 1.0)
