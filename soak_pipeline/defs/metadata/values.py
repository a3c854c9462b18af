"""The kinds of metadata values that the pipeline uses."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dagster as dg

from soak_pipeline.report.charts.sparkline import sparkline_svg
from soak_pipeline.report.markdown import MARKS
from soak_pipeline.report.text import markdown, one_line

Metadata = dict[str, dg.MetadataValue]


@dataclass(frozen=True, slots=True)
class Picture:
    """A cell of a table that is drawn.

    Attributes:
        svg: an SVG document; empty for no picture.
        words: what it shows, for who cannot see it.
    """

    svg: str
    words: str

    def __str__(self) -> str:
        if not self.svg:
            return "–"
        return f"![{markdown(self.words)}](data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()})"


def sparkline(values: Sequence[float], *, words: str, limit: float | None = None) -> Picture:
    """A small line; none for fewer than two values."""
    return Picture(sparkline_svg(values, limit=limit) if len(values) > 1 else "", words)


def marked(verdict: str) -> str:
    """A verdict, or the word for none, with its mark."""
    return f"{MARKS[verdict]} {verdict}" if verdict in MARKS else verdict


def text(value: str) -> dg.MetadataValue:
    """One line of text, without anything that a terminal or a browser would act upon."""
    return dg.MetadataValue.text(one_line(value))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MetadataValue:
    """A Markdown table; its cells are shown literally, but for pictures."""
    lines = [
        [str(cell) if isinstance(cell, Picture) else markdown(str(cell)) for cell in line] for line in (header, *rows)
    ]
    lines.insert(1, ["---"] * len(header))
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def plotted(name: str, value: float | None) -> Metadata:
    """A number that the UI plots over the runs; nothing when it was not measured."""
    return {} if value is None else {name: dg.MetadataValue.float(float(value))}


def optional_text(name: str, value: str | None) -> Metadata:
    """A text; nothing when there is none."""
    return {name: text(value)} if value else {}
