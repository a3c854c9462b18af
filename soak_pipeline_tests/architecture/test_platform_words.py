"""The platform's words stand in `soak_pipeline/dialect` and nowhere else in the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.dialect.requests import Request, Route

PACKAGE = PROJECT_ROOT / "soak_pipeline"
ROOM = PACKAGE / "dialect"
DIALECT = nominal.DIALECT

ALLOWED: dict[tuple[str, str], str] = {}
"""By file and word, why it may stand there all the same."""


def _values(value: object) -> Iterator[object]:
    """A value and everything in it."""
    yield value
    if is_dataclass(value):
        for field in fields(value):
            yield from _values(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, tuple) and not isinstance(value, Request | Route):
        for item in value:
            yield from _values(item)


def _paths() -> set[str]:
    """The fixed beginnings of all paths, such as `/agents` and `/execute`."""
    routes = [value.path for value in _values(DIALECT) if isinstance(value, Request | Route)]
    return {re.split(r"[{?]", path)[0].rstrip("/") for path in (*routes, DIALECT.execution.path)}


def _tables() -> set[str]:
    """Names of tables; a single English word, such as `agents`, says nothing by itself."""
    named = {name for group in DIALECT.tables.values() for name in _values(group) if isinstance(name, str)}
    named |= {DIALECT.timelines.steps_table, DIALECT.outbox.table, DIALECT.roots.table, DIALECT.graph.edges_table}
    return {name for name in named if "_" in name}


def _metrics() -> set[str]:
    metrics = DIALECT.metrics
    return {*metrics.process_series, metrics.gc_seconds, *metrics.retries, metrics.requests, metrics.latency}


WORDS: dict[str, set[str]] = {
    "paths": _paths(),
    "tables": _tables(),
    "streams, lists and keys": {*DIALECT.queues.groups, *DIALECT.queues.groups.values(), "acp:"},
    "metrics": _metrics(),
    "headers": {value for value in _values(DIALECT.headers) if isinstance(value, str)} - {"Bearer"} | {"Bearer "},
    "tokens": {DIALECT.tokens.cookie, DIALECT.tokens.token_key, DIALECT.tokens.life_key},
    "audit rows": {DIALECT.audit_rows.executed_action, DIALECT.audit_rows.own_tool, DIALECT.chain.genesis},
}


def _literals(tree: ast.Module) -> Iterator[str]:
    """Texts in the code, those in f-strings included; documentation is none."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def _said_in(source: str, words: set[str]) -> set[str]:
    """Those of the words that a text of the source has, whole."""
    texts = "\0".join(_literals(ast.parse(source)))
    return {word for word in words if _whole(word).search(texts)}


def _whole(word: str) -> re.Pattern[str]:
    """A word that is not part of a longer one; one that ends in a sign may have more behind it."""
    return re.compile(rf"(?<![\w/]){re.escape(word)}" + (r"(?![a-z0-9_-])" if word[-1].isalnum() else ""))


def _files() -> Iterator[Path]:
    yield from (path for path in sorted(PACKAGE.rglob("*.py")) if ROOM not in path.parents)


@pytest.mark.parametrize("kind", WORDS)
def test_no_word_of_the_platform_is_spelt_outside_its_room(kind: str) -> None:
    found = {
        (str(path.relative_to(PACKAGE)), word) for path in _files() for word in _said_in(path.read_text(), WORDS[kind])
    }
    assert found - ALLOWED.keys() == set()


@pytest.mark.parametrize("kind", WORDS)
def test_the_search_finds_the_words_where_they_are(kind: str) -> None:
    """A search that finds nothing anywhere would prove nothing."""
    found = _said_in((ROOM / "platforms" / "nominal.py").read_text(), WORDS[kind])
    assert WORDS[kind] - found - MADE_OF_PARTS == set()


MADE_OF_PARTS = {DIALECT.chain.genesis, "Bearer "}
"""Put together from parts in the room itself."""


@pytest.mark.parametrize("source", ['path = "/auth/token"', 'f"{x}/auth/token"', 'q = "SELECT 1 FROM audit_logs"'])
def test_a_word_in_the_code_is_found(source: str) -> None:
    assert _said_in(source, _paths() | _tables())


@pytest.mark.parametrize("source", ['"""Asks /auth/token."""', 'path = "/auth/tokens_of"', 'name = "my_audit_logs"'])
def test_documentation_and_longer_words_are_none(source: str) -> None:
    assert not _said_in(source, _paths() | _tables())


def test_nothing_is_allowed_that_is_not_there() -> None:
    stale = [key for key in ALLOWED if not _said_in((PACKAGE / key[0]).read_text(), {key[1]})]
    assert stale == []
