from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.analysis.decision import Side
from soak_pipeline.analysis.proportions import (
    Agreement,
    clopper_pearson_interval,
    difference_of_shares,
    ratio_of_shares,
    rise_against_margin,
    shares_agree,
    two_share_p_value,
    wilson_interval,
)


def test_wilson_from_newcombe_1998() -> None:
    # Newcombe, Statistics in Medicine 17, 857-872, table I: 81 of 263.
    estimate = wilson_interval(81, 263)
    assert (estimate.lower, estimate.upper) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


def test_clopper_pearson_from_newcombe_1998() -> None:
    estimate = clopper_pearson_interval(81, 263)
    assert (estimate.lower, estimate.upper) == (pytest.approx(0.2527, abs=5e-5), pytest.approx(0.3676, abs=5e-5))


def test_no_event_in_300_is_the_rule_of_three() -> None:
    estimate = clopper_pearson_interval(0, 300, confidence=0.9)
    assert estimate.lower == 0.0
    assert estimate.upper == pytest.approx(1 - 0.05 ** (1 / 300))


@given(st.integers(1, 500), st.data())
def test_intervals_hold_the_share(total: int, data: st.DataObject) -> None:
    events = data.draw(st.integers(0, total))
    for estimate in (wilson_interval(events, total), clopper_pearson_interval(events, total)):
        assert 0.0 <= estimate.lower <= estimate.share + 1e-12
        assert estimate.share - 1e-12 <= estimate.upper <= 1.0


def test_difference_from_newcombe_1998() -> None:
    # Statistics in Medicine 17, 873-890, table II, method 10: 56/70 against 48/80.
    change = difference_of_shares(48, 80, 56, 70)
    assert change.difference == pytest.approx(0.2)
    assert (change.lower, change.upper) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_p_value_with_continuity_by_hand() -> None:
    # Pooled 104/150; z = (0.2 - 0.5 (1/70 + 1/80)) / sqrt(p q (1/70 + 1/80)).
    per_total = 1 / 70 + 1 / 80
    pooled = 104 / 150
    z = (0.2 - per_total / 2) / math.sqrt(pooled * (1 - pooled) * per_total)
    assert two_share_p_value(48, 80, 56, 70) == pytest.approx(math.erfc(z / math.sqrt(2)))
    assert two_share_p_value(0, 10, 0, 20) == 1.0
    assert two_share_p_value(5, 10, 5, 10) == 1.0


@pytest.mark.parametrize(
    ("before", "after", "side"),
    [(0, 0, Side.BELOW), (0, 100, Side.ABOVE), (0, 20, Side.OPEN), (20, 0, Side.BELOW)],
)
def test_rise_of_errors_against_one_point(before: int, after: int, side: Side) -> None:
    assert rise_against_margin(before, 2000, after, 2000, margin=0.01)[0] is side


def test_a_rise_whose_bound_is_exactly_the_margin_is_within() -> None:
    _, change = rise_against_margin(10, 2000, 15, 2000, margin=0.5)
    assert rise_against_margin(10, 2000, 15, 2000, margin=change.upper)[0] is Side.BELOW
    assert rise_against_margin(10, 2000, 15, 2000, margin=change.upper - 1e-6)[0] is Side.OPEN


def test_client_and_server_agree_disagree_or_leave_it_open() -> None:
    assert shares_agree(96_000, 100_000, 96_050, 100_010, margin=0.01)[0] is Agreement.AGREE
    assert shares_agree(96_000, 100_000, 90_000, 100_000, margin=0.01)[0] is Agreement.DISAGREE
    assert shares_agree(90_000, 100_000, 96_000, 100_000, margin=0.01)[0] is Agreement.DISAGREE
    assert shares_agree(96, 100, 95, 100, margin=0.01)[0] is Agreement.OPEN


@pytest.mark.parametrize(("events", "total"), [(1, 0), (-1, 10), (11, 10)])
def test_impossible_counts_are_refused(events: int, total: int) -> None:
    with pytest.raises(ValueError, match=r"must lie|at least 1"):
        wilson_interval(events, total)


def test_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        shares_agree(1, 2, 1, 2, margin=-0.1)


def test_newcombe_covers() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        change = difference_of_shares(int(random.binomial(500, 0.01)), 500, int(random.binomial(500, 0.03)), 500)
        covered += change.lower <= 0.02 <= change.upper
    assert covered / 1000 >= 0.93


def test_ratio_by_hand() -> None:
    ratio, lower, upper = ratio_of_shares(9, 999, 19, 999)
    assert ratio == pytest.approx(19.5 / 9.5)
    half = 1.959964 * math.sqrt(1 / 9.5 + 1 / 19.5 - 2 / 999.5)
    assert (lower, upper) == (pytest.approx(ratio * math.exp(-half)), pytest.approx(ratio * math.exp(half)))


def test_ratio_covers_also_where_events_are_rare() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(1000):
        _, lower, upper = ratio_of_shares(
            int(random.binomial(2000, 0.002)), 2000, int(random.binomial(2000, 0.006)), 2000
        )
        covered += lower <= 3.0 <= upper
    assert covered / 1000 >= 0.93
    assert ratio_of_shares(0, 100, 0, 100)[0] == 1.0
