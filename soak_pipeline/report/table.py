"""The verdict as a table in a terminal, or as plain lines where there is none.

Owns what `soak run` and `soak judge` print at the end. Never decides an exit code.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.report.quantities import interval_text, limit_of, quantity
from soak_pipeline.report.text import one_line
from soak_pipeline.report.verdict_document import VerdictDocument

NOT_ASKED = "not asked"
_STYLES = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow", NOT_ASKED: "dim"}
_NARROW_COLUMNS = 76


def verdict_word(result: CriterionResult) -> str:
    """The word shown for a criterion: its verdict, or `not asked`."""
    return result.verdict.value if result.asked else NOT_ASKED


def print_verdict(document: VerdictDocument, stream: TextIO) -> None:
    """Prints the verdict: a coloured table on a terminal, otherwise lines that grep and CI logs can use.

    Args:
        document: what to print.
        stream: where to; its `isatty` decides.
    """
    if stream.isatty():
        console = Console(file=stream, highlight=False)
        console.print(verdict_table(document, console.width))
        console.print(_closing(document))
        return
    stream.write(plain_verdict(document))


def verdict_table(document: VerdictDocument, columns: int) -> Table:
    """The criteria as a table that fits into `columns`: narrow terminals get the sentence below, not beside."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, show_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("criterion", overflow="fold", ratio=3)
    if columns < _NARROW_COLUMNS:
        table.columns[1].header = "criterion and why"
        for result in document.criteria:
            name = Text(one_line(result.name), style="bold")
            table.add_row(_word(result), Text.assemble(name, "\n", one_line(result.why)))
        return table
    table.add_column("observed", justify="right", overflow="fold", min_width=9)
    table.add_column("limit", justify="right", overflow="fold", min_width=7)
    table.add_column("why", overflow="fold", ratio=5)
    for result in document.criteria:
        table.add_row(
            _word(result),
            Text(one_line(result.name)),
            _observed(result),
            Text(limit_of(result)),
            Text(one_line(result.why)),
        )
    return table


def plain_verdict(document: VerdictDocument, columns: int | None = None) -> str:
    """The verdict as plain lines: two columns of fixed width, then the sentence, wrapped below.

    Args:
        columns: width to wrap at; None takes `COLUMNS` or 100.
    """
    width = max(columns if columns is not None else shutil.get_terminal_size((100, 24)).columns, 40)
    lines: list[str] = []
    for result in document.criteria:
        between = interval_text(result.interval, result.unit)
        observed = quantity(result.observed, result.unit) + (f" ({between})" if between else "")
        figures = f"observed {observed}, limit {limit_of(result)}"
        lines.append(f"{verdict_word(result):<12}  {one_line(result.name)}: {figures}")
        lines += _indented(one_line(result.why), width)
    lines += ["", *_closing_lines(document, width)]
    return "\n".join(lines) + "\n"


def _indented(text: str, width: int) -> Sequence[str]:
    return textwrap.wrap(text, width, initial_indent=" " * 14, subsequent_indent=" " * 14, break_on_hyphens=False)


def _closing_lines(document: VerdictDocument, width: int) -> list[str]:
    sentences = [f"{document.verdict}: {one_line(document.why)}"]
    if document.verdict is not Verdict.PASS:
        sentences.append(f"next: {one_line(document.next_step)}")
    return [line for text in sentences for line in textwrap.wrap(text, width, subsequent_indent="  ")]


def _closing(document: VerdictDocument) -> Text:
    text = Text.assemble((document.verdict.value, _STYLES[document.verdict.value]), ": ", one_line(document.why))
    if document.verdict is not Verdict.PASS:
        text.append(f"\nnext: {one_line(document.next_step)}")
    return text


def _word(result: CriterionResult) -> Text:
    word = verdict_word(result)
    return Text(word, style=_STYLES[word])


def _observed(result: CriterionResult) -> Text:
    between = interval_text(result.interval, result.unit)
    return Text.assemble(quantity(result.observed, result.unit), (f"\n{between}" if between else "", "dim"))
