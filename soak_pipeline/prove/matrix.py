"""The matrix of a proof, fault by criterion: as JSON, in a terminal, as Markdown and as a page.

Owns what is shown. Never decides whether a row holds; that is `judging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from rich.table import Table
from rich.text import Text

from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.prove.judging import NOT_ASKED, Cell, Outcome, RowResult
from soak_pipeline.report.page.render import render
from soak_pipeline.report.text import markdown, one_line, title_of

MATRIX_FILE = "matrix.json"
PAGE_FILE = "matrix.html"
FORMAT_VERSION = 1

SHORT = {criterion.name: criterion.short for criterion in CRITERIA}
"""Names of the criteria at the head of a column."""

_MARK_WIDTH = 3
_NARROW_NAME = 16
_WIDE = 130
_LETTERS = {Verdict.FAIL.value: "F", Verdict.INCONCLUSIVE.value: "?", Verdict.PASS.value: "·", NOT_ASKED: "-"}
_LEGEND = (
    "F fails, ? stays open, · passes, - not asked, 0 no answer; ·!F was to pass and failed, F~ failed but named "
    "another cause"
)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `matrix.json`.

    Attributes:
        proof_id: when it began; names its folder.
        holds: whether every row does.
        lanes: runs that went at once.
        duration_s: of all of it (seconds).
        criteria: names of the criteria, in the registry's order.
        rows: in the catalogue's order.
        format_version: of this file.
    """

    proof_id: str
    holds: bool
    lanes: int
    duration_s: float
    criteria: tuple[str, ...]
    rows: tuple[RowResult, ...]
    format_version: int = FORMAT_VERSION


def proof_of(
    proof_id: str, rows: Sequence[RowResult], *, criteria: Sequence[str], lanes: int, duration_s: float
) -> Proof:
    """The matrix of some rows; it holds when there is one and every one does."""
    return Proof(
        proof_id=proof_id,
        holds=bool(rows) and all(row.outcome.holds for row in rows),
        lanes=lanes,
        duration_s=round(duration_s, 1),
        criteria=tuple(criteria),
        rows=tuple(rows),
    )


def summary_of(proof: Proof) -> str:
    """How the proof ended, in one sentence."""
    planted = [row for row in proof.rows if not row.is_clean]
    caught = sum(row.outcome is Outcome.CAUGHT for row in planted)
    passed = sum(row.outcome is Outcome.PASSED for row in proof.rows)
    clean = len(proof.rows) - len(planted)
    others = [row.name for row in proof.rows if not row.outcome.holds]
    words = f"{caught} of {len(planted)} faults caught by the right criterion alone and rightly explained, "
    words += f"{passed} of {clean} clean {'run' if clean == 1 else 'runs'} passed"
    again = sum(row.attempts > 1 for row in proof.rows)
    words += f"; {again} run again because the first measurement was not valid" if again else ""
    return f"{words}; not as expected: {', '.join(others)}" if others else words


def mark(cell: Cell | None) -> str:
    """A cell in three characters at most: what was observed, and what was expected where that is another thing."""
    if cell is None:
        return ""
    observed = _LETTERS.get(cell.observed or "", "0")
    if not cell.has_turned_rightly:
        return f"{_LETTERS[cell.expected.value]}!{observed}"
    return observed if cell.holds else f"{observed}~"


def table_of(proof: Proof, *, width: int) -> Table:
    """The matrix for a terminal.

    Args:
        proof: what to show.
        width: of the terminal, from 80 columns; a narrow one has shorter names and no seconds, but every mark.
    """
    is_wide = width >= _WIDE
    table = Table(
        caption=_LEGEND, caption_justify="left", header_style="dim", box=None, pad_edge=False, collapse_padding=True
    )
    table.add_column("row", no_wrap=True, max_width=None if is_wide else _NARROW_NAME)
    for name in proof.criteria:
        head = SHORT.get(name, name)
        table.add_column(head if is_wide else head[:_MARK_WIDTH], justify="center", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    if is_wide:
        table.add_column("s", justify="right", no_wrap=True)
    for row in proof.rows:
        cells = {cell.criterion: cell for cell in row.cells}
        marks = [_styled(cells.get(name)) for name in proof.criteria]
        outcome = Text(row.outcome.value, style="green" if row.outcome.holds else "bold red")
        table.add_row(row.name, *marks, outcome, *([f"{row.duration_s:.0f}"] if is_wide else []))
    return table


def problem_lines(proof: Proof) -> list[str]:
    """What did not hold, a line each, for a terminal."""
    return [
        f"{row.name}: {one_line(problem)}{f' ({row.run})' if row.run else ''}"
        for row in proof.rows
        for problem in row.problems
    ]


def _styled(cell: Cell | None) -> Text:
    if cell is None:
        return Text("")
    if not cell.holds:
        return Text(mark(cell), style="bold red")
    return Text(mark(cell), style="dim" if cell.expected is Verdict.PASS else "green")


def markdown_of(proof: Proof) -> str:
    """The matrix as a document for `docs/`."""
    names = [SHORT.get(name, name) for name in proof.criteria]
    lines = [
        "# Fault matrix",
        "",
        "Written by `soak prove --publish FILE`; [proving.md](proving.md) says how to read it.",
        "",
        f"{markdown(summary_of(proof))}. {len(proof.rows)} runs in {proof.duration_s / 60:.0f} minutes, "
        f"{proof.lanes} at once.",
        "",
        f"| run | {' | '.join(names)} | cause named | outcome |",
        f"|---|{':-:|' * len(names)}---|---|",
        *(_markdown_row(proof, row) for row in proof.rows),
        "",
        f"{markdown(_LEGEND)}.",
        "",
        "## What is planted",
        "",
        "| run | planted | as | also turns, because |",
        "|---|---|---|---|",
        *(_planted_row(row) for row in proof.rows),
    ]
    problems = [f"- `{row.name}`: {markdown(problem)}" for row in proof.rows for problem in row.problems]
    if problems:
        lines += ["", "## Not as expected", "", *problems]
    return "\n".join(lines) + "\n"


def _markdown_row(proof: Proof, row: RowResult) -> str:
    cells = {cell.criterion: cell for cell in row.cells}
    marks = [_markdown_mark(cells.get(name)) for name in proof.criteria]
    causes = [f"`{cell.cause_observed}`" for cell in row.cells if cell.cause_observed]
    return f"| `{row.name}` | {' | '.join(marks)} | {', '.join(dict.fromkeys(causes))} | {row.outcome.value} |"


def _markdown_mark(cell: Cell | None) -> str:
    text = markdown(mark(cell))
    return f"**{text}**" if cell is not None and text and cell.expected is not Verdict.PASS else text


def _planted_row(row: RowResult) -> str:
    also = [f"`{SHORT.get(cell.criterion, cell.criterion)}`: {cell.because}" for cell in row.cells if cell.because]
    planted = ", ".join(f"`{text}`" for text in row.planted)
    return f"| `{row.name}` | {markdown(row.what)} | {planted} | {'; '.join(also)} |"


@dataclass(frozen=True, slots=True)
class _PageCell:
    """A cell of the page: its tone, its mark, and what is told of it."""

    tone: str
    mark: str
    words: str


def page_of(proof: Proof) -> str:
    """The matrix as one offline page."""
    return render(
        PAGE_FILE,
        proof=proof,
        summary=summary_of(proof),
        criteria=[(SHORT.get(name, name), title_of(name)) for name in proof.criteria],
        rows=[(row, _page_cells(proof, row)) for row in proof.rows],
        legend=_LEGEND,
    )


def _page_cells(proof: Proof, row: RowResult) -> list[_PageCell]:
    cells = {cell.criterion: cell for cell in row.cells}
    return [_page_cell(cells.get(name)) for name in proof.criteria]


def _page_cell(cell: Cell | None) -> _PageCell:
    if cell is None:
        return _PageCell("unasked", "", "no verdict")
    tones = {Verdict.FAIL: "fail", Verdict.INCONCLUSIVE: "open", Verdict.PASS: "unasked"}
    words = f"{title_of(cell.criterion)}: {cell.observed or 'missing'}"
    words += f", cause {cell.cause_observed}" if cell.cause_observed else ""
    words += "" if cell.holds else f"; expected {cell.expected}"
    words += f" with cause {cell.cause_expected}" if not cell.holds and cell.cause_expected else ""
    return _PageCell(tones[cell.expected] if cell.holds else "wrong", mark(cell), words)
