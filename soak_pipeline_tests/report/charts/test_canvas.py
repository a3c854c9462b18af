from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from soak_pipeline.report.charts.canvas import INK, ROLES, limit_line, panel, time_unit, to_svg


def drawing(key: str) -> str:
    canvas, axes = panel()
    axes.plot([0, 1, 2], [3, 1, 2], "o-", color=INK)
    axes.set_title("<script>&")
    axes.set_xlim(0, 2)
    limit_line(axes, 2.0, "limit 2")
    return to_svg(canvas, key, axes)


def test_colours_are_roles_with_a_fallback() -> None:
    text = drawing("a")
    assert "var(--ink,#1b1f24)" in text
    assert not any(placeholder in text for placeholder in ROLES)


def test_every_colour_of_a_drawing_is_a_role() -> None:
    colours = set(re.findall(r"(?:fill|stroke): ?(#[0-9a-f]{6})", drawing("a")))
    assert colours == set()


def test_identifiers_of_two_drawings_differ() -> None:
    first, second = (set(re.findall(r'\bid="([^"]+)"', drawing(key))) for key in ("a", "b"))
    assert first
    assert not first & second


def test_the_same_drawing_is_the_same_text() -> None:
    assert drawing("a") == drawing("a")


def test_text_is_escaped_and_fonts_are_left_to_the_page() -> None:
    text = drawing("a")
    assert "<script" not in text
    assert "font-family" not in text
    assert "<style" not in text


def test_plot_box_locates_a_pointer() -> None:
    left, right, top, bottom, low, high = (
        float(value) for value in ET.fromstring(drawing("a")).attrib["data-plot"].split()
    )
    assert (left, right) == (pytest.approx(44 / 340, abs=1e-5), pytest.approx(328 / 340, abs=1e-5))
    assert 0 < top < bottom < 1
    assert (low, high) == (0, 2)


@pytest.mark.parametrize(("span_s", "name"), [(45, "s"), (180, "s"), (181, "min"), (10_800, "min"), (14_400, "h")])
def test_time_unit(span_s: float, name: str) -> None:
    assert time_unit(span_s).name == name
