"""Small lines: whole documents, true to the values, with gaps where nothing was measured."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.report.charts.sparkline import HEIGHT, MAX_POINTS, PADDING, WIDTH, sparkline_svg

SVG = "{http://www.w3.org/2000/svg}"
figures = st.floats(-1e9, 1e9)


def _lines(svg: str) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
        for line in ET.fromstring(svg).iter(f"{SVG}polyline")
    ]


def test_the_highest_value_is_on_top_and_the_lowest_at_the_bottom() -> None:
    (line,) = _lines(sparkline_svg([1.0, 3.0, 2.0]))
    assert line == [(PADDING, HEIGHT - PADDING), (WIDTH / 2, PADDING), (WIDTH - PADDING, HEIGHT / 2)]


def test_noise_is_no_mountain() -> None:
    """1 % up and down is drawn as 1/25 of the height, around the middle."""
    (line,) = _lines(sparkline_svg([100.0, 99.0, 100.0]))
    assert max(y for _, y in line) - min(y for _, y in line) == pytest.approx((HEIGHT - 2 * PADDING) / 25, abs=0.1)
    assert sum(sorted({y for _, y in line})) / 2 == pytest.approx(HEIGHT / 2, abs=0.1)


def test_a_value_that_is_missing_leaves_a_gap() -> None:
    lines = _lines(sparkline_svg([1.0, 2.0, math.nan, math.nan, 2.0, 1.0]))
    assert [len(line) for line in lines] == [2, 2]


def test_a_constant_is_drawn_in_the_middle() -> None:
    (line,) = _lines(sparkline_svg([7.0, 7.0]))
    assert {y for _, y in line} == {HEIGHT / 2}


@pytest.mark.parametrize(("limit", "drawn"), [(250.0, True), (400.0, True), (401.0, False), (None, False)])
def test_a_limit_far_off_is_left_out(limit: float | None, drawn: bool) -> None:
    assert ("<line" in sparkline_svg([100.0, 200.0], limit=limit)) is drawn


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, math.nan]])
def test_without_a_value_there_is_no_picture(values: list[float]) -> None:
    assert sparkline_svg(values) == ""


@given(st.lists(figures | st.just(math.nan), min_size=1, max_size=500), st.none() | figures)
def test_whatever_the_values_it_is_a_small_document_within_its_frame(values: list[float], limit: float | None) -> None:
    svg = sparkline_svg(values, limit=limit)
    assert len(svg) < 2_500
    if svg:
        points = [point for line in _lines(svg) for point in line]
        assert len(points) <= MAX_POINTS
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


@given(st.lists(figures, min_size=MAX_POINTS + 1, max_size=400))
def test_many_values_become_means_of_all_of_them(values: list[float]) -> None:
    """No value is left out: with one of them raised, the line changes."""
    (line,) = _lines(sparkline_svg(values))
    assert len(line) == MAX_POINTS
