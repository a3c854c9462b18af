"""Shares of events: intervals, differences, and whether two ways of counting agree.

Owns statistics of counts out of totals: error shares between phases, and the share of requests under the budget as
the client and as the server count it. It never looks at latencies themselves. Sources: Wilson (1927); Clopper and
Pearson (1934); Newcombe, Statistics in Medicine 17 (1998), method 10 for differences; Walter (1975) for ratios.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from soak_pipeline.analysis.arrays import share_between_0_and_1
from soak_pipeline.analysis.decision import Side, side_of_limit
from soak_pipeline.analysis.distributions import beta_quantile, normal_cdf, normal_quantile


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """A share (0..1) of `total` with its two-sided interval."""

    events: int
    total: int
    share: float
    lower: float
    upper: float
    confidence: float


@dataclass(frozen=True, slots=True)
class ShareDifference:
    """`after - before` of two shares with its two-sided interval and the p-value of "no difference"."""

    before: ShareEstimate
    after: ShareEstimate
    difference: float
    lower: float
    upper: float
    p_value: float
    confidence: float


class Agreement(StrEnum):
    """Whether two counts of the same thing agree within a margin."""

    AGREE = "agree"
    DISAGREE = "disagree"
    OPEN = "open"


def _checked(events: int, total: int) -> None:
    if total < 1:
        raise ValueError(f"total: {total}, a share needs at least 1")
    if not 0 <= events <= total:
        raise ValueError(f"events: {events}, must lie between 0 and total {total}")


def wilson_interval(events: int, total: int, *, confidence: float = 0.95) -> ShareEstimate:
    """Interval of a share by Wilson's score: near nominal coverage also for shares near 0 and small totals.

    Raises ValueError for a total below 1 or events outside 0..total.
    """
    _checked(events, total)
    z = normal_quantile((1.0 + share_between_0_and_1(confidence, "confidence")) / 2.0)
    share = events / total
    scale = 1.0 + z * z / total
    centre = (share + z * z / (2.0 * total)) / scale
    half = z * math.sqrt(share * (1.0 - share) / total + z * z / (4.0 * total * total)) / scale
    lower = 0.0 if events == 0 else max(0.0, centre - half)
    upper = 1.0 if events == total else min(1.0, centre + half)
    return ShareEstimate(events, total, share, lower, upper, confidence)


def clopper_pearson_interval(events: int, total: int, *, confidence: float = 0.95) -> ShareEstimate:
    """Exact interval of a share: at least nominal coverage always, wider than Wilson's.

    Raises ValueError for a total below 1 or events outside 0..total.
    """
    _checked(events, total)
    tail = (1.0 - share_between_0_and_1(confidence, "confidence")) / 2.0
    lower = 0.0 if events == 0 else beta_quantile(tail, events, total - events + 1)
    upper = 1.0 if events == total else beta_quantile(1.0 - tail, events + 1, total - events)
    return ShareEstimate(events, total, events / total, lower, upper, confidence)


def two_share_p_value(events_before: int, total_before: int, events_after: int, total_after: int) -> float:
    """Two-sided p-value of "both shares are equal": pooled z with continuity correction."""
    _checked(events_before, total_before)
    _checked(events_after, total_after)
    pooled = (events_before + events_after) / (total_before + total_after)
    per_total = 1.0 / total_before + 1.0 / total_after
    spread = math.sqrt(pooled * (1.0 - pooled) * per_total)
    if spread == 0.0:
        return 1.0
    gap = abs(events_after / total_after - events_before / total_before)
    z = max(0.0, gap - per_total / 2.0) / spread
    return 2.0 * normal_cdf(-z)


def difference_of_shares(
    events_before: int, total_before: int, events_after: int, total_after: int, *, confidence: float = 0.95
) -> ShareDifference:
    """Difference `after - before` of two independent shares, with Newcombe's hybrid score interval.

    Raises ValueError for totals below 1 or events outside 0..total.
    """
    before = wilson_interval(events_before, total_before, confidence=confidence)
    after = wilson_interval(events_after, total_after, confidence=confidence)
    difference = after.share - before.share
    lower = difference - math.hypot(after.share - after.lower, before.upper - before.share)
    upper = difference + math.hypot(after.upper - after.share, before.share - before.lower)
    p_value = two_share_p_value(events_before, total_before, events_after, total_after)
    return ShareDifference(before, after, difference, max(-1.0, lower), min(1.0, upper), p_value, confidence)


def ratio_of_shares(
    events_before: int, total_before: int, events_after: int, total_after: int, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Ratio `after / before` of two independent shares, with its lower and upper bound.

    Logarithmic interval with half an event added to every count (Walter, Biometrika 62, 1975), so that it is defined
    without any event as well; the ratio is shrunk a little towards 1 by this.

    Raises ValueError for totals below 1 or events outside 0..total.
    """
    _checked(events_before, total_before)
    _checked(events_after, total_after)
    share_before = (events_before + 0.5) / (total_before + 0.5)
    share_after = (events_after + 0.5) / (total_after + 0.5)
    variance = (
        1.0 / (events_before + 0.5)
        - 1.0 / (total_before + 0.5)
        + 1.0 / (events_after + 0.5)
        - 1.0 / (total_after + 0.5)
    )
    half = normal_quantile((1.0 + share_between_0_and_1(confidence, "confidence")) / 2.0) * math.sqrt(variance)
    ratio = share_after / share_before
    return ratio, ratio * math.exp(-half), ratio * math.exp(half)


def rise_against_margin(
    events_before: int,
    total_before: int,
    events_after: int,
    total_after: int,
    *,
    margin: float,
    confidence: float = 0.95,
) -> tuple[Side, ShareDifference]:
    """Say whether a share rose by more than `margin` (0..1), as for error shares from baseline to burst.

    BELOW: the upper bound of the rise is at most the margin. ABOVE: the lower bound is beyond it. OPEN otherwise.
    """
    change = difference_of_shares(events_before, total_before, events_after, total_after, confidence=confidence)
    return side_of_limit(change.lower, change.upper, margin), change


def shares_agree(
    client_events: int,
    client_total: int,
    server_events: int,
    server_total: int,
    *,
    margin: float,
    confidence: float = 0.99,
) -> tuple[Agreement, ShareDifference]:
    """Cross-check the share under a budget as the client measured it against the server's histogram bucket.

    Both sides count nearly the same requests, so treating them as independent samples is on the careful side.

    Args:
        client_events, client_total: requests within the budget, and all, from raw records.
        server_events, server_total: the cumulative bucket at the budget, and the count, over the same time.
        margin: largest difference of the shares (0..1) that still counts as agreement.
        confidence: two-sided confidence of the interval of the difference.

    Returns: AGREE when the whole interval of `server - client` lies within +-margin, DISAGREE when it lies wholly
    outside, OPEN otherwise; with the difference itself.
    """
    if not margin >= 0.0:
        raise ValueError(f"margin: {margin}, must be at least 0")
    change = difference_of_shares(client_events, client_total, server_events, server_total, confidence=confidence)
    if -margin <= change.lower and change.upper <= margin:
        return Agreement.AGREE, change
    if change.lower > margin or change.upper < -margin:
        return Agreement.DISAGREE, change
    return Agreement.OPEN, change
