"""Every cause that a verdict can name has one row in `docs/troubleshooting.md`, and every row such a cause."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import soak_pipeline.criteria
from soak_pipeline import PROJECT_ROOT
from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.verdict import LOAD_WAS_VALID
from soak_pipeline.prove.catalogue import CATALOGUE
from soak_pipeline_tests.docs.markdown import rows, section

TEXT = (PROJECT_ROOT / "docs" / "troubleshooting.md").read_text()
FOLDER = Path(soak_pipeline.criteria.__file__).parent
MEMORY_OF_ITS_OWN = "uss_bytes"
"""Part of the resident memory, and told as its growth."""


def causes() -> Iterator[str]:
    """First argument of each `Diagnosis(...)`; those that are made of a series or taken from a table are followed."""
    for path in FOLDER.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Diagnosis":
                yield from _names(node.args[0], tree)


def _names(first: ast.expr, tree: ast.Module) -> Iterator[str]:
    if isinstance(first, ast.Constant):
        yield str(first.value)
    elif isinstance(first, ast.IfExp):
        yield from _names(first.body, tree)
        yield from _names(first.orelse, tree)
    elif isinstance(first, ast.JoinedStr):
        assert ast.unparse(first.values[-1]).strip("'\"").endswith("_grows")
        yield from (f"{series}_grows" for series in LEAK_SERIES if series != MEMORY_OF_ITS_OWN)
    else:
        assert isinstance(first, ast.Name), ast.unparse(first)
        tables = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and _is_table(node)]
        assert tables, f"no table gives {first.id}"
        yield from (str(ast.literal_eval(entry)[1]) for table in tables for entry in table.elts)


def _is_table(node: ast.Assign) -> bool:
    """Whether it is a tuple of tuples of four texts: subject, cause, words, fix."""
    return isinstance(node.value, ast.Tuple) and all(
        isinstance(entry, ast.Tuple) and len(entry.elts) == 4 for entry in node.value.elts
    )


def documented() -> list[str]:
    """Causes by the tables of the two sections that have them."""
    tables = (section(TEXT, "## The platform"), section(TEXT, "## The measurement"))
    return [cells[0].strip("`") for table in tables for cells in rows(table)]


def test_every_cause_has_one_row_and_every_row_its_cause() -> None:
    found = set(causes())
    assert len(found) > 60
    assert set(documented()) == found
    assert [cause for cause, number in Counter(documented()).items() if number > 1] == []


def test_the_causes_of_the_proof_are_among_them() -> None:
    proved = {turn.cause for row in CATALOGUE for turn in row.turns}
    assert proved
    assert proved - set(documented()) == set()


def test_every_row_says_what_it_means_where_to_look_and_what_to_do() -> None:
    tables = (section(TEXT, "## The platform"), section(TEXT, "## The measurement"))
    assert [cells[0] for table in tables for cells in rows(table) if len(cells) != 4 or not all(cells)] == []


def test_every_criterion_that_can_fail_has_its_section() -> None:
    assert [name for name in CRITERION_NAMES if name != LOAD_WAS_VALID and f"### {name}\n" not in TEXT] == []
