"""The kinds of metadata values that the pipeline uses.

The Dagster UI shows Markdown in place up to `IN_PLACE_CHARS`, and behind a click beyond that; what an operator must see
at once is kept below.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dagster as dg

from soak_pipeline.report.charts.sparkline import sparkline_svg
from soak_pipeline.report.quantities import NOT_MEASURED, quantity
from soak_pipeline.report.text import markdown, one_line

Metadata = dict[str, dg.MetadataValue]

IN_PLACE_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Bold:
    """A cell of a table that catches the eye; its words are shown literally."""

    words: str


def verdict_cell(verdict: str) -> str | Bold:
    """A verdict that blocks is bold; PASS, and the word for none, are not."""
    return Bold(verdict) if verdict in ("FAIL", "INCONCLUSIVE") else verdict


def text(value: str) -> dg.MetadataValue:
    """One line of text, without anything that a terminal or a browser would act upon."""
    return dg.MetadataValue.text(one_line(value))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MetadataValue:
    """A Markdown table, everything in it shown literally."""
    lines = [[_cell(value) for value in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _cell(value: object) -> str:
    return f"**{markdown(value.words)}**" if isinstance(value, Bold) else markdown(str(value))


def course(name: str, values: Sequence[float], unit: str, *, of: str = "", limit: float | None = None) -> Metadata:
    """The course of a figure as a small line and as words; nothing for fewer than two known values.

    Args:
        name: of the entry.
        values: from left to right; NaN leaves a gap.
        of: what it is the course of, where the name does not say.
        limit: in `unit`; drawn where it is in reach.
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return {}
    words = markdown(f"{of} {first_to_last(values, unit)}".strip())
    picture = base64.b64encode(sparkline_svg(values, limit=limit).encode()).decode()
    return {name: dg.MetadataValue.md(f"![{words}](data:image/svg+xml;base64,{picture}) {words}")}


def first_to_last(values: Sequence[float], unit: str) -> str:
    """The first and the last known value; a dash without any."""
    known = [value for value in values if math.isfinite(value)]
    return f"{quantity(known[0], unit)} to {quantity(known[-1], unit)}" if known else NOT_MEASURED


def plotted(name: str, value: float | None) -> Metadata:
    """A number that the UI plots over the runs; nothing when it was not measured."""
    return {} if value is None else {name: dg.MetadataValue.float(float(value))}


def optional_text(name: str, value: str | None) -> Metadata:
    """A text; nothing when there is none."""
    return {name: text(value)} if value else {}
