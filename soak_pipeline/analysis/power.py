"""What a sample of a planned size can tell, before it is taken.

Owns the arithmetic of planning: the chance that enough requests come together, what chance clustering costs, the spread
of a tail ratio that a window of so many samples has, and the closest percentile that is still recognised. It never sees
a measurement, a plan or a tenant; `criteria.power` applies it.

Where latencies have to be supposed, they are log-normal with `TYPICAL_SERVICE_LOG_SD`, and windows differ from each
other by `TYPICAL_WINDOW_LOG_SD` more than their samples explain. The calibration tables rest on the same two figures.
"""

from __future__ import annotations

import math

from soak_pipeline.analysis.arrays import share_between_0_and_1
from soak_pipeline.analysis.dependence import BLOCK_S, FEWEST_BLOCKS
from soak_pipeline.analysis.distributions import beta_quantile, binomial_cdf, chi_square_quantile, normal_quantile
from soak_pipeline.analysis.percentiles import upper_bound_rank

TYPICAL_SERVICE_LOG_SD = 0.3
TYPICAL_WINDOW_LOG_SD = 0.05
MEDIAN_EFFICIENCY = 2.0 / math.pi
"""Of the median beside the mean, for many values."""


def chance_of_at_least(needed: int, trials: int, share: float) -> float:
    """Chance (0..1) that at least `needed` of `trials` requests are of a kind that has `share` (0..1) of them.

    The schedule deals its kinds from decks, which scatter less than independent draws; so the answer is on the careful
    side.
    """
    if needed <= 0:
        return 1.0
    if trials < needed or share <= 0.0:
        return 0.0
    return 1.0 if share >= 1.0 else 1.0 - binomial_cdf(needed - 1, trials, share)


def fewest_trials(needed: int, share: float, chance: float) -> int | None:
    """Fewest requests of which at least `needed` are of a kind with `share`, with a chance; None for no share.

    Raises ValueError for a chance that is not between 0 and 1.
    """
    share_between_0_and_1(chance, "chance")
    if share <= 0.0:
        return None
    low, high = needed, needed
    while chance_of_at_least(needed, high, share) < chance:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if chance_of_at_least(needed, middle, share) >= chance:
            high = middle
        else:
            low = middle + 1
    return high


def chance_design_effect(window_s: float, windows: int, *, chance: float) -> float:
    """Design effect that independent requests do not exceed with a chance (0..1), though they only seem to cluster.

    `exceedance_design_effect` estimates it from blocks of time, so it scatters as a variance of so many blocks does; of
    several windows the median counts. 1 where a window has too few blocks for an estimate.

    Args:
        window_s: length of the shortest window (seconds).
        windows: how many windows there are.
        chance: with which the effect stays at or below the answer.
    """
    blocks = math.ceil(window_s / BLOCK_S)
    if blocks < FEWEST_BLOCKS:
        return 1.0
    degrees = (blocks - 1) * max(1.0, windows * MEDIAN_EFFICIENCY)
    return max(1.0, chi_square_quantile(chance, degrees) / degrees)


def log_ratio_sd(
    samples: int,
    share: float,
    *,
    service_log_sd: float = TYPICAL_SERVICE_LOG_SD,
    window_log_sd: float = TYPICAL_WINDOW_LOG_SD,
) -> float:
    """Standard deviation of ln(percentile in one window / percentile in another), `samples` latencies in each.

    Asymptotic variance of an order statistic, sqrt(p (1 - p) / n) over the density there, and the windows' own.
    """
    z = normal_quantile(share_between_0_and_1(share, "share"))
    density = math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
    order_statistic = service_log_sd * math.sqrt(share * (1.0 - share) / max(1, samples)) / density
    return math.sqrt(2.0 * (order_statistic**2 + window_log_sd**2))


def recognised_share_of_limit(
    samples: int,
    share: float,
    *,
    windows: int = 1,
    chance: float = 0.9,
    confidence: float = 0.95,
    service_log_sd: float = TYPICAL_SERVICE_LOG_SD,
) -> float | None:
    """Largest percentile, as a share of its limit, whose upper bounds keep the limit in every window with a chance.

    Args:
        samples: effective samples in each window.
        share: percentile as a share.
        windows: how many windows have to keep the limit.
        chance: that all of them do (0..1).
        confidence: two-sided, of each interval.
        service_log_sd: spread of the log-normal latencies.

    Returns: None where the samples give no upper bound.
    """
    rank = upper_bound_rank(share, samples, (1.0 + confidence) / 2.0)
    if rank is None:
        return None
    # The upper bound is the value at `rank`; it keeps the limit when at least that many samples do.
    share_within = beta_quantile(chance ** (1.0 / windows), rank, samples - rank + 1)
    return math.exp(-service_log_sd * (normal_quantile(share_within) - normal_quantile(share)))
