"""A limit has a direction; closeness, order and sign are arithmetic on it."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from soak_pipeline.model.verdict import CriterionResult, Direction, Finding, Limit, Verdict, at_least, at_most

EITHER = st.sampled_from([at_most, at_least])
FIGURES = st.floats(-1e9, 1e9).filter(lambda figure: figure == 0 or abs(figure) > 1e-6)
"""Figures of any sign and size; what is smaller is no figure of anything that is measured here."""


@pytest.mark.parametrize(
    ("limit", "observed", "closeness", "allowed"),
    [
        (at_most(250.0), 0.0, 0.0, True),
        (at_most(250.0), 125.0, 0.5, True),
        (at_most(250.0), 250.0, 1.0, True),
        (at_most(250.0), 500.0, 2.0, False),
        (at_most(250.0), -250.0, -1.0, True),
        (at_least(0.8), 1.6, 0.0, True),
        (at_least(0.8), 0.8, 1.0, True),
        (at_least(0.8), 0.4, 1.5, False),
        (at_least(0.8), 0.0, 2.0, False),
        (at_least(0.8), -0.8, 3.0, False),
        (at_most(0.0), 0.0, 0.0, True),
        (at_most(0.0), 7.0, 8.0, False),
        (at_most(0.0), -7.0, -7.0, True),
        (at_least(0.0), 7.0, -7.0, True),
        (at_least(0.0), -7.0, 8.0, False),
        (at_most(-2.0), -4.0, 0.0, True),
        (at_most(-2.0), 0.0, 2.0, False),
        (at_most(0.0), math.inf, math.inf, False),
    ],
)
def test_closeness_and_side(limit: Limit, observed: float, closeness: float, allowed: bool) -> None:
    assert limit.closeness(observed) == pytest.approx(closeness)
    assert limit.allows(observed) is allowed


@pytest.mark.parametrize("unmeasured", [None, math.nan])
@pytest.mark.parametrize("limit", [at_most(0.0), at_most(5.0), at_least(5.0)])
def test_what_was_not_measured_is_nearer_to_no_limit_than_any_figure(limit: Limit, unmeasured: float | None) -> None:
    assert limit.closeness(unmeasured) == -math.inf
    assert not limit.allows(math.nan)


@given(make=EITHER, value=FIGURES, one=FIGURES, other=FIGURES)
def test_closeness_never_falls_towards_and_beyond_the_limit(
    make: Callable[[float], Limit], value: float, one: float, other: float
) -> None:
    limit = make(value)
    better, worse = sorted((one, other), reverse=make is at_least)
    assert limit.closeness(better) <= limit.closeness(worse)
    # Strictly, where the two differ by more than the arithmetic does.
    if abs(one - other) > 1e-6 * max(1.0, abs(value)):
        assert limit.closeness(better) < limit.closeness(worse)


@given(make=EITHER, value=FIGURES, observed=FIGURES)
def test_beyond_one_is_beyond_the_limit(make: Callable[[float], Limit], value: float, observed: float) -> None:
    limit = make(value)
    assume(observed == value or abs(observed - value) > 1e-9 * max(1.0, abs(value)))
    assert (limit.closeness(observed) > 1.0) is not limit.allows(observed)


@given(make=EITHER, value=FIGURES.filter(bool))
def test_exactly_at_a_limit_closeness_is_one_and_the_limit_is_kept(
    make: Callable[[float], Limit], value: float
) -> None:
    limit = make(value)
    assert limit.closeness(value) == 1.0
    assert limit.allows(value)


@given(value=FIGURES, observed=FIGURES)
def test_the_two_directions_are_mirror_images(value: float, observed: float) -> None:
    assert at_most(value).closeness(observed) == at_least(-value).closeness(-observed)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_limit_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="a limit is a finite number"):
        at_most(value)


@pytest.mark.parametrize("kind", [Finding, CriterionResult])
def test_a_figure_has_the_unit_of_its_limit(kind: type[Finding] | type[CriterionResult]) -> None:
    name = {"subject": "x"} if kind is Finding else {"name": "x"}
    given_none = kind(verdict=Verdict.PASS, why="", limit=at_least(2.0, "ms"), **name)  # type: ignore[arg-type]
    assert given_none.unit == "ms"
    assert msgspec.json.decode(msgspec.json.encode(given_none), type=kind) == given_none
    with pytest.raises(ValueError, match="a figure in s is held against a limit in ms"):
        kind(verdict=Verdict.PASS, why="", limit=at_least(2.0, "ms"), unit="s", **name)  # type: ignore[arg-type]


def test_a_limit_as_json() -> None:
    assert msgspec.json.encode(at_least(0.8, "share")) == b'{"direction":"at_least","value":0.8,"unit":"share"}'
    assert {str(direction) for direction in Direction} == {"at_most", "at_least"}
