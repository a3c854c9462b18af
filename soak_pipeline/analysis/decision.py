"""The three answers that a statistical question can have.

Owns the vocabulary only. It never turns an answer into a verdict: what an open answer means for a promotion is the
criteria's business.
"""

from __future__ import annotations

from enum import StrEnum


class Side(StrEnum):
    """Where a quantity lies against a limit, as far as its interval tells.

    BELOW includes exactly at the limit: a budget of 250 ms is kept by 250 ms.
    """

    BELOW = "below"
    ABOVE = "above"
    OPEN = "open"


class Decision(StrEnum):
    """Answer of a decision rule. OPEN means that the data cannot tell; it is never a PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    OPEN = "OPEN"


# Ratios and limits are products of rounded decimals: 1.2 is not exactly 120/100 of something in binary. A relative
# step of 1e-9 is far below any measurement and keeps "exactly at the limit" on the side of the budget.
AT_LIMIT_TOLERANCE = 1e-9


def side_of_limit(lower: float | None, upper: float | None, limit: float) -> Side:
    """Compare an interval with a limit.

    BELOW when the upper bound is at most the limit, ABOVE when the lower bound is beyond it, OPEN otherwise. A bound
    that does not exist (None) decides nothing.
    """
    slack = AT_LIMIT_TOLERANCE * max(abs(limit), 1e-300)
    if upper is not None and upper <= limit + slack:
        return Side.BELOW
    if lower is not None and lower > limit + slack:
        return Side.ABOVE
    return Side.OPEN
