from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.report.text import markdown, one_line, title_of
from soak_pipeline_tests.report.examples import HOSTILE


@given(st.text())
def test_one_line_keeps_nothing_that_acts(text: str) -> None:
    line = one_line(text)
    assert all(character.isprintable() for character in line)
    assert not any(unicodedata.category(character).startswith(("C", "Zl", "Zp")) for character in line)


def test_one_line_shows_that_something_was_taken_away() -> None:
    assert one_line("a\x1b[31mb\u202ec\nd\te\x00") == "a�[31mb�c d e�"


def test_one_line_keeps_ordinary_text() -> None:
    text = "p99 rose 1.34x (118 ms → 158 ms), größer als 日本 🎉"
    assert one_line(text) == text


def test_one_line_says_how_long_a_cut_text_was() -> None:
    assert one_line("x" * 5_000, max_chars=10) == "xxxxxxxxxx … (5,000 characters)"
    assert one_line("x" * 10, max_chars=10) == "x" * 10


def test_markdown_escapes_what_would_be_markup() -> None:
    assert markdown("a|b <i> *c* `d` [e](http://f) @g") == r"a\|b \<i\> \*c\* \`d\` \[e\](http\://f) \@g"


def test_markdown_of_hostile_text_stays_in_its_cell() -> None:
    shown = markdown(HOSTILE)
    assert "\n" not in shown
    assert not any(shown[at - 1] != "\\" for at, character in enumerate(shown) if character in "|<>`*")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("gateway_p95_is_under_slo", "Gateway p95 is under SLO"),
        ("nothing_leaks", "Nothing leaks"),
        ("", ""),
    ],
)
def test_title_of(name: str, title: str) -> None:
    assert title_of(name) == title
