"""How much independent information a series or a stream of requests holds.

Owns autocorrelation, the variance inflation that follows from it, and the design effect of requests that are slow
together. Sources: Marriott and Pope, Biometrika 41 (1954), for the bias of r1; Kish, Survey Sampling (1965), for the
design effect. It never decides anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.arrays import FloatArray, finite_vector, same_length
from soak_pipeline.analysis.distributions import chi_square_quantile

# At 0.99 a series of 240 points holds barely one independent value; beyond it the estimate says no more than that.
LARGEST_R1 = 0.99
BLOCK_S = 15.0
"""Requests within this time may hit the same stall (seconds)."""
FEWEST_BLOCKS = 10
"""With data in them, before their scatter says anything."""
OWN_EFFECT_CONFIDENCE = 0.99
"""With which a window's design effect must be its own, not the scatter of its few slow requests; over all windows."""


def lag1_autocorrelation(residuals: ArrayLike, *, adjacent: ArrayLike | None = None) -> float:
    """Lag-1 autocorrelation of residuals around zero, as measured.

    `adjacent` marks, for each of the n-1 neighbouring pairs, whether they are really neighbours in time; a pair across
    a gap does not count. Returns 0 where the residuals do not vary or no pair is left.
    """
    vector = finite_vector(residuals, "residuals")
    if vector.size < 3:
        return 0.0
    products = vector[1:] * vector[:-1]
    kept = np.ones(products.size, dtype=bool) if adjacent is None else np.asarray(adjacent, dtype=bool)
    power = float(np.mean(vector**2))
    if power <= 0.0 or not kept.any():
        return 0.0
    # The divisor n (not n-1) in the numerator is the usual estimator whose bias is known.
    scale = (vector.size - 1) / vector.size
    return float(np.mean(products[kept]) * scale / power)


def unbiased_r1(r1: float, points: int, *, parameters: int = 2) -> float:
    """Correct r1 of residuals for its bias, and keep it within [0, LARGEST_R1].

    After removing a mean (`parameters` 1) the expectation of r1 is about phi - (1 + 3 phi) / n, after removing a mean
    and a slope (2) about phi - (2 + 4 phi) / n, so short series look independent when they are not. A negative result
    is held at 0: narrower intervals than independence allows are never claimed.
    """
    slope_of_bias = parameters + 2.0
    if points <= slope_of_bias + 2.0:
        return LARGEST_R1
    corrected = (points * r1 + parameters) / (points - slope_of_bias)
    return min(LARGEST_R1, max(0.0, corrected))


def careful_r1(r1: float, points: int) -> float:
    """Bias-corrected r1 plus one standard error, sqrt((1 - phi^2) / n), at most LARGEST_R1.

    A short series that wanders can look nearly independent by luck, and just then its intervals would be too narrow.
    One standard error keeps false answers of short series near their nominal rate and costs long series little.
    """
    phi = unbiased_r1(r1, points)
    return min(LARGEST_R1, phi + math.sqrt((1.0 - phi * phi) / max(1, points)))


def variance_inflation(phi: float) -> float:
    """Factor by which AR(1) dependence `phi` multiplies the variance of a mean or a slope: (1 + phi) / (1 - phi)."""
    return (1.0 + phi) / (1.0 - phi)


def effective_degrees_of_freedom(points: int, phi: float, parameters: int) -> float:
    """Degrees of freedom left when `points` values of dependence `phi` have fitted `parameters`; at least 1.5.

    The noise level of a dependent series is itself known from few independent values, and Student's t with these
    degrees of freedom keeps intervals honest where the normal quantile does not.
    """
    return max(1.5, points / variance_inflation(phi) - parameters)


def exceedance_design_effect(times_s: ArrayLike, values: ArrayLike, share: float, *, block_s: float = BLOCK_S) -> float:
    """Factor >= 1 by which clustering in time reduces what a percentile's sample is worth.

    Requests that hit the same stall are slow together. The variance over blocks of the share of values above the
    percentile, over what independence would give, measures by how much.

    Args:
        times_s: time of each value in seconds on any one clock, any order.
        values: the measurements.
        share: percentile as a share.
        block_s: length of a block in seconds; longer than a stall, and short enough for at least 10 blocks.

    Returns: the design effect, at least 1; 1 where fewer than 10 blocks hold data and nothing can be said.
    """
    times = finite_vector(times_s, "times_s")
    vector = finite_vector(values, "values")
    same_length(times, vector, "times_s and values")
    if vector.size < 20 or not block_s > 0.0:
        return 1.0
    rank = min(vector.size, max(1, math.ceil(share * vector.size - 1e-9)))
    threshold = float(np.partition(vector, rank - 1)[rank - 1])
    slot = ((times - times.min()) // block_s).astype(np.int64)
    counts = np.bincount(slot).astype(np.float64)
    # Where the slowest values are all alike, as calls that ran into the timeout, none is above the percentile.
    is_beyond = vector > threshold if (vector > threshold).any() else vector >= threshold
    beyond = np.bincount(slot[is_beyond], minlength=counts.size).astype(np.float64)
    counts, beyond = counts[counts > 0], beyond[counts > 0]
    blocks = counts.size
    overall = float(beyond.sum() / counts.sum())
    if blocks < FEWEST_BLOCKS or not 0.0 < overall < 1.0:
        return 1.0
    # Variance of a ratio estimated from clusters of unequal size, over the variance of independent values.
    clustered = float(np.sum((beyond - overall * counts) ** 2)) * blocks / (blocks - 1)
    independent = overall * (1.0 - overall) * float(counts.sum())
    return max(1.0, clustered / independent)


def design_effects_of_windows(effects: Sequence[float], blocks: Sequence[int]) -> list[float]:
    """Design effects of the windows of one phase: what they have in common, unless one is worse beyond chance.

    The estimate of a short window scatters as a variance of so many blocks does. Taken at its word, it would now and
    then halve what a healthy window is worth; taken from the whole phase, one stall would put every window in doubt.

    Args:
        effects: of each window, from `exceedance_design_effect`.
        blocks: how many blocks each window has.

    Returns: for each window the median of all, or its own where that is larger than scatter explains.
    """
    common = float(np.median(effects))
    confidence = 1.0 - (1.0 - OWN_EFFECT_CONFIDENCE) / len(effects)
    return [
        own if count > 1 and own > common * chi_square_quantile(confidence, count - 1) / (count - 1) else common
        for own, count in zip(effects, blocks, strict=True)
    ]


def adjacent_in_time(times_s: FloatArray, step_s: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark the neighbouring points that are at most one and a half steps apart."""
    return np.diff(times_s) <= 1.5 * step_s
