"""The verdict as lines of a terminal, coloured where there is one.

Owns what `soak run` and `soak judge` print at the end: per criterion one line of figures under a common heading, and
the sentence below it, wrapped. Never decides an exit code.
"""

from __future__ import annotations

import shutil
import textwrap
from typing import TextIO

from rich.console import Console
from rich.text import Text

from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.quantities import limit_of, quantity
from soak_pipeline.report.text import one_line
from soak_pipeline.report.verdict_document import VerdictDocument

NOT_ASKED = "not asked"
_STYLES = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow", NOT_ASKED: "dim"}
_HEADING = ("verdict", "criterion", "observed", "limit")
_INDENT = len("INCONCLUSIVE") + 2
_FEWEST_COLUMNS = 40
_COLUMNS_WITHOUT_TERMINAL = 100


def verdict_word(result: CriterionResult) -> str:
    """The word shown for a criterion: its verdict, or `not asked`."""
    return result.verdict.value if result.asked else NOT_ASKED


def name_words(result: CriterionResult) -> str:
    """The criterion's name, and that it is advisory where it is."""
    return f"{one_line(result.name)} (advisory)" if result.advisory else one_line(result.name)


def print_verdict(document: VerdictDocument, stream: TextIO) -> None:
    """Prints the verdict: coloured on a terminal, otherwise lines that grep and CI logs can use.

    Args:
        document: what to print.
        stream: where to; its `isatty` decides.
    """
    if stream.isatty():
        console = Console(file=stream, highlight=False)
        console.print(verdict_text(document, console.width), soft_wrap=True)
        return
    stream.write(plain_verdict(document))


def plain_verdict(document: VerdictDocument, columns: int | None = None) -> str:
    """The verdict as plain text.

    Args:
        document: what to show.
        columns: width to wrap at; None takes `COLUMNS` or 100.
    """
    width = columns if columns is not None else shutil.get_terminal_size((_COLUMNS_WITHOUT_TERMINAL, 24)).columns
    return verdict_text(document, width).plain + "\n"


def verdict_text(document: VerdictDocument, columns: int) -> Text:
    """The verdict with its styles, wrapped at `columns` (40 at least)."""
    columns = max(columns, _FEWEST_COLUMNS)
    rows = [_cells(result) for result in document.criteria]
    widths = [max(len(cell) for cell in column) for column in zip(_HEADING, *rows, strict=True)]
    widths[0] = _INDENT - 2
    beside = sum(widths) + 2 * (len(widths) - 1) <= columns
    lines = [Text(_line(_HEADING, widths), style="dim")] if beside else []
    for result, cells in zip(document.criteria, rows, strict=True):
        line = _line(cells, widths) if beside else f"{cells[0]:<{widths[0]}}  {cells[1]}"
        lines.append(Text(line))
        lines[-1].stylize(_STYLES[cells[0]], 0, len(cells[0]))
        lines[-1].stylize("bold", _INDENT, _INDENT + len(cells[1]))
        if not beside:
            lines += _wrapped(f"observed {cells[2]}, limit {cells[3]}", columns)
        lines += _wrapped(one_line(result.why), columns, style="dim" if result.verdict is Verdict.PASS else "")
    return Text("\n").join([*lines, Text(), *_closing(document, columns)])


def _cells(result: CriterionResult) -> tuple[str, str, str, str]:
    return (
        verdict_word(result),
        name_words(result),
        quantity(result.observed, result.unit),
        limit_of(result),
    )


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    verdict, name, observed, limit = cells
    return f"{verdict:<{widths[0]}}  {name:<{widths[1]}}  {observed:>{widths[2]}}  {limit:>{widths[3]}}"


def _wrapped(text: str, columns: int, style: str = "") -> list[Text]:
    indent = " " * _INDENT
    lines = textwrap.wrap(text, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return [Text(line, style=style) for line in lines]


def _closing(document: VerdictDocument, columns: int) -> list[Text]:
    sentences = [f"{document.verdict}: {one_line(document.why)}"]
    if document.verdict is not Verdict.PASS:
        sentences.append(f"next: {one_line(document.next_step)}")
    lines = [
        Text(line)
        for text in sentences
        for line in textwrap.wrap(text, columns, subsequent_indent="  ", break_on_hyphens=False)
    ]
    lines[0].stylize(_STYLES[document.verdict.value], 0, len(document.verdict))
    return lines
