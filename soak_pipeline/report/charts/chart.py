"""What a chart is: a drawing, the words for who cannot see it, and its numbers.

Owns the value types. Never draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of numbers; `x` is where the chart draws it, None when it is not on a time axis."""

    cells: tuple[str, ...]
    x: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing and its numbers.

    Attributes:
        key: identifier in the page, such as `latency-0`.
        title: a few words.
        summary: what the drawing shows, with the figures that matter; read aloud instead of it.
        svg: the drawing.
        svg_narrow: the same drawing for a narrow screen; None where `svg` serves both.
        header: of the table; the first column is what the chart's x axis shows.
        rows: the numbers that are drawn.
        note: how they were made, such as the length of a bin.
        tone: `fail` or `open` when it shows a finding that is not PASS, else empty.
    """

    key: str
    title: str
    summary: str
    svg: str
    header: tuple[str, ...]
    rows: Sequence[TableRow]
    svg_narrow: str | None = None
    note: str = ""
    tone: str = ""
