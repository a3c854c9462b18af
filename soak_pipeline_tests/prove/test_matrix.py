"""The matrix as table, JSON, Markdown and page: every row and mark is there, and nothing in it acts."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.prove.catalogue import CATALOGUE
from soak_pipeline.prove.judging import RowResult, judge_row
from soak_pipeline.prove.matrix import (
    SHORT,
    Proof,
    mark,
    markdown_of,
    page_of,
    problem_lines,
    proof_of,
    summary_of,
    table_of,
)
from soak_pipeline.prove.rows import Row
from soak_pipeline_tests.report.test_html import Page

NAMES = [criterion.name for criterion in CRITERIA]
HOSTILE = "<script>alert(1)</script>\x1b[31m| `x` |"


def as_expected(row: Row) -> RowResult:
    causes = {turn.criterion: turn.cause for turn in row.turns}
    criteria = [
        CriterionResult(name=name, verdict=row.expected(name), cause=causes.get(name), why=f"why of {name}")
        for name in NAMES
    ]
    return judge_row(row, criteria, duration_s=90.0, run=f"rows/{row.name}/soak/20261123T073000Z")


def missed(row: Row) -> RowResult:
    criteria = [CriterionResult(name=name, verdict=Verdict.PASS, why=HOSTILE) for name in NAMES]
    return judge_row(row, criteria, duration_s=90.0)


def proof(*rows: RowResult) -> Proof:
    return proof_of("20261123T073000Z", rows, criteria=NAMES, lanes=2, duration_s=1_800.0)


def shown(matrix: Proof, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table_of(matrix, width=width))
    return console.export_text()


WHOLE = proof(*map(as_expected, CATALOGUE))
PART = proof(as_expected(CATALOGUE[0]), missed(CATALOGUE[3]), judge_row(CATALOGUE[4], None))


def test_it_holds_when_every_row_does() -> None:
    assert WHOLE.holds
    assert not PART.holds
    assert not proof().holds


def test_the_summary_counts_what_was_caught_and_names_the_rest() -> None:
    faults = sum(not row.is_clean for row in CATALOGUE)
    assert summary_of(WHOLE) == (
        f"{faults} of {faults} faults caught by the right criterion alone and rightly explained, "
        f"{len(CATALOGUE) - faults} of {len(CATALOGUE) - faults} clean runs passed"
    )
    assert summary_of(PART).startswith("0 of 2 faults caught")
    assert summary_of(PART).endswith(f"not as expected: {CATALOGUE[3].name}, {CATALOGUE[4].name}")


def test_every_criterion_has_a_short_name() -> None:
    assert list(SHORT) == NAMES
    assert len(set(SHORT.values())) == len(NAMES)


@pytest.mark.parametrize(
    ("expected", "observed", "cause", "shown_as"),
    [
        ("PASS", "PASS", None, "·"),
        ("PASS", "not asked", None, "-"),
        ("FAIL", "FAIL", "x", "F"),
        ("INCONCLUSIVE", "INCONCLUSIVE", "x", "?"),
        ("FAIL", "FAIL", "y", "F~"),
        ("FAIL", "PASS", None, "F!·"),
        ("PASS", "FAIL", "y", "·!F"),
        ("INCONCLUSIVE", "FAIL", "x", "?!F"),
        ("FAIL", None, None, "F!0"),
    ],
)
def test_a_mark_says_what_was_seen_and_what_should_have_been(
    expected: str, observed: str | None, cause: str | None, shown_as: str
) -> None:
    row = as_expected(CATALOGUE[0]).cells[0]
    cell = msgspec.structs.replace(
        row,
        expected=Verdict(expected),
        observed=observed,
        cause_observed=cause,
        cause_expected=None if expected == "PASS" else "x",
    )
    assert mark(cell) == shown_as


def test_the_table_has_a_line_per_row_and_a_mark_per_criterion() -> None:
    text = shown(WHOLE)
    for row in WHOLE.rows:
        line = next(line for line in text.splitlines() if line.startswith(f"{row.name} "))
        assert line.split()[1 : 1 + len(NAMES)] == [mark(cell) for cell in row.cells]
    assert "harness failed" in shown(PART)


def test_a_narrow_terminal_shows_every_mark_and_outcome() -> None:
    lines = shown(WHOLE, 80).splitlines()[1 : 1 + len(WHOLE.rows)]
    for row, line in zip(WHOLE.rows, lines, strict=True):
        assert line.split()[1 : 1 + len(NAMES)] == [mark(cell) for cell in row.cells]
        assert line.rstrip().endswith(row.outcome.value)
    assert any(line.rstrip().endswith("harness failed") for line in shown(PART, 80).splitlines())


def test_json_is_read_back_as_it_was() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PART), type=Proof) == PART


def test_problems_are_told_on_one_line_each_without_what_acts() -> None:
    lines = problem_lines(PART)
    assert len(lines) == 3
    assert all(line.startswith((CATALOGUE[3].name, CATALOGUE[4].name)) for line in lines)
    assert not any("\x1b" in line or "\n" in line for line in lines)


def test_markdown_has_every_row_with_its_marks_and_what_is_planted() -> None:
    text = markdown_of(WHOLE)
    heading = "| run | " + " | ".join(SHORT.values()) + " | cause named | outcome |"
    assert heading in text
    for row in WHOLE.rows:
        lines = [line for line in text.splitlines() if line.startswith(f"| `{row.name}` |")]
        assert len(lines) == 2
        assert lines[0].count("|") == heading.count("|")
        assert all(f"`{planted}`" in lines[1] for planted in row.planted)
    assert "Not as expected" not in text
    assert f"- `{CATALOGUE[4].name}`: the run left no verdict" in markdown_of(PART)
    assert "<script>" not in markdown_of(PART)


def test_the_page_is_well_formed_offline_and_inert() -> None:
    text = page_of(PART)
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    assert {row.name for row in PART.rows} <= set(page.ids)
    assert all(link.startswith("#") for link in page.links)
    assert page.handlers == []
    assert text.count("<script>") == 1
    assert "\x1b" not in text
    assert "default-src 'none'" in text


def test_the_page_shows_every_row_and_cell() -> None:
    text = page_of(WHOLE)
    assert text.count('class="turned ') == len(CATALOGUE) * len(NAMES)
    assert "The gate can fail" in text
    assert "Not proved" in page_of(PART)
    assert len(text) < 1_000_000
