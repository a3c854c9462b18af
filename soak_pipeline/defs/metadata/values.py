"""The kinds of metadata values that the pipeline uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from soak_pipeline.report.text import markdown, one_line

Metadata = dict[str, dg.MetadataValue]


def text(value: str) -> dg.MetadataValue:
    """One line of text, without anything that a terminal or a browser would act upon."""
    return dg.MetadataValue.text(one_line(value))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MetadataValue:
    """A Markdown table."""
    lines = [[markdown(str(value)) for value in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def plotted(name: str, value: float | None) -> Metadata:
    """A number that the UI plots over the runs; nothing when it was not measured."""
    return {} if value is None else {name: dg.MetadataValue.float(float(value))}


def optional_text(name: str, value: str | None) -> Metadata:
    """A text; nothing when there is none."""
    return {name: text(value)} if value else {}
