"""Several hypotheses at once, and several looks at growing data.

Owns Holm's adjustment and the constant nominal level of group-sequential looks (Pocock, Biometrika 64, 1977), computed
for any spacing of the looks by the recursion of Armitage, McPherson and Rowe (1969). It never sees measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy import special

from soak_pipeline.analysis.arrays import share_between_0_and_1
from soak_pipeline.analysis.distributions import normal_cdf, normal_quantile

_GRID_POINTS = 401
_GRID_REACH = 8.0


def holm_adjusted(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p-values, in the order given.

    Rejecting every hypothesis whose adjusted value is at most alpha keeps the chance of any false rejection at alpha,
    whatever the dependence (Holm, Scandinavian Journal of Statistics 6, 1979).
    """
    count = len(p_values)
    adjusted = [1.0] * count
    running = 0.0
    for position, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (count - position) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


@lru_cache(maxsize=64)
def pocock_level(looks: tuple[int, ...], alpha: float) -> float:
    """One-sided level to use at every look so that the chance of crossing at any look is `alpha` in total.

    Args:
        looks: amount of data (such as pairs) at each planned look, strictly increasing.
        alpha: total one-sided error (0..1).

    Returns: the level per look; `alpha` itself for a single look. Stopping at an earlier look than planned only makes
    the total error smaller.

    Raises ValueError for looks that do not increase from at least 1.
    """
    share_between_0_and_1(alpha, "alpha")
    if not looks or looks[0] < 1 or any(later <= earlier for earlier, later in pairwise(looks)):
        raise ValueError(f"looks: {looks}, must be strictly increasing counts from at least 1")
    if len(looks) == 1:
        return alpha
    low, high = normal_quantile(1.0 - alpha), normal_quantile(1.0 - alpha / len(looks))
    for _ in range(30):
        middle = (low + high) / 2.0
        if crossing_probability(middle, looks) > alpha:
            low = middle
        else:
            high = middle
    return normal_cdf(-high)


def crossing_probability(boundary: float, looks: Sequence[int]) -> float:
    """Chance that a standardised mean of independent data exceeds `boundary` at any of the looks, without effect."""
    information = np.asarray(looks, dtype=np.float64) / looks[-1]
    step_root = float(np.sqrt(information[0]))
    grid = np.linspace(-_GRID_REACH * step_root, boundary * step_root, _GRID_POINTS)
    density = np.exp(-(grid**2) / (2.0 * information[0])) / np.sqrt(2.0 * np.pi * information[0])
    crossed = normal_cdf(-boundary)
    for before, now in pairwise(information):
        step = now - before
        weights = np.full(_GRID_POINTS, grid[1] - grid[0])
        weights[0] /= 2.0
        weights[-1] /= 2.0
        mass = weights * density
        edge = boundary * np.sqrt(now)
        crossed += float(np.sum(mass * special.ndtr(-(edge - grid) / np.sqrt(step))))
        next_grid = np.linspace(-_GRID_REACH * np.sqrt(now), edge, _GRID_POINTS)
        kernel = np.exp(-((next_grid[:, None] - grid[None, :]) ** 2) / (2.0 * step)) / np.sqrt(2.0 * np.pi * step)
        density, grid = kernel @ mass, next_grid
    return crossed
