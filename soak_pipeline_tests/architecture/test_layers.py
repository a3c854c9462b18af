"""Imports run downwards only, and the heavy or patching libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "soak_pipeline"

ALLOWED: dict[str, set[str]] = {
    "model": set(),
    "dialect": {"model"},
    "config": {"criteria.names", "model"},
    "evidence": {"model"},
    "analysis": {"model"},
    "load": {"dialect", "evidence", "analysis", "model"},
    "target": {"dialect", "config", "evidence", "analysis", "model"},
    "telemetry": {"dialect", "target", "evidence", "analysis", "model"},
    "criteria": {"dialect", "evidence", "analysis", "model"},
    "report": {"criteria", "evidence", "analysis", "model"},
    "stages": {"config", "load", "target", "telemetry", "criteria", "report", "evidence", "analysis", "model"},
    "candidates": {"report", "evidence", "model"},
    "defs": {
        "config",
        "candidates",
        "stages",
        "target",
        "criteria",
        "report",
        "dialect",
        "evidence",
        "model",
        "definitions",
    },
    "prove": {"report", "criteria", "evidence", "model"},
    "commands": {"config", "prove", "stages", "target", "report", "criteria", "evidence", "analysis", "model"},
    "cli": {"commands", "config", "report", "evidence", "model"},
    "definitions": {"defs"},
}
"""What each part may import besides itself; `criteria.names` is the one module of that part that loads nothing."""

SENDER = "load/sender"

ONLY_IN = {
    "locust": (SENDER,),
    "gevent": (SENDER,),
    "geventhttpclient": (SENDER,),
    "dagster": ("defs", "definitions"),
    "infra": (),
}
"""The only folders or modules that may import each library."""


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative != Path("__init__.py"):
            yield relative, ast.parse(path.read_text())


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # `from package import module` imports the module; an attribute's name does no harm here.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part_of(name: str) -> str | None:
    """The part that a dotted name lies in; None outside this package, and for a constant of the package itself."""
    package, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    is_part = (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()
    return part if package == PACKAGE.name and part and is_part else None


def _may_import(part: str, name: str) -> bool:
    return _part_of(name) in {None, part} or bool({name.split(".")[1], ".".join(name.split(".")[1:3])} & ALLOWED[part])


def test_imports_run_downwards() -> None:
    upward = [
        f"{relative} imports {name}"
        for relative, tree in _modules()
        for name in _imports(tree)
        if not _may_import(relative.parts[0].removesuffix(".py"), name)
    ]
    assert upward == []


def test_special_libraries_stay_in_their_parts() -> None:
    astray = [
        f"{relative} imports {name}"
        for relative, tree in _modules()
        for name in _imports(tree)
        if (places := ONLY_IN.get(name.split(".")[0])) is not None and not _is_in(relative, places)
    ]
    assert astray == []


def test_senders_are_started_and_never_imported() -> None:
    """A process that imports one of them is patched by gevent, or ends when a lease does that it does not hold."""
    importers = [
        f"{relative} imports {name}"
        for relative, tree in _modules()
        for name in _imports(tree)
        if (name + ".").startswith("soak_pipeline.load.sender.") and not _is_in(relative, (SENDER,))
    ]
    assert importers == []


def _is_in(module: Path, places: tuple[str, ...]) -> bool:
    return any(module.with_suffix("").is_relative_to(place) for place in places)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("soak_pipeline.load.session", ("locust", "gevent", "dagster", "zmq")),
        ("soak_pipeline.load.supervision", ("locust", "gevent", "dagster", "zmq")),
        ("soak_pipeline.load.capacity", ("locust", "gevent", "dagster")),
        ("soak_pipeline.stages.soak", ("locust", "gevent", "dagster", "infra")),
        ("soak_pipeline.criteria.names", ("numpy", "msgspec")),
        ("soak_pipeline.commands.gate", ("locust", "gevent", "dagster", "pandas", "numpy", "pyarrow", "httpx")),
        ("soak_pipeline.commands.run", ("locust", "gevent", "dagster")),
        ("soak_pipeline.stages.report", ("matplotlib",)),
    ],
)
def test_what_is_really_loaded(module: str, forbidden: tuple[str, ...]) -> None:
    """A lazy or indirect import would escape the reading of the source; a fresh process cannot be fooled."""
    code = f"import sys, {module}; print(sorted(set({forbidden!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    assert done.stdout.strip() == "[]"


def test_the_harness_does_not_know_where_it_is_tested() -> None:
    """The reference platform is a program beside the harness: neither imports the other."""
    importers = [
        path.relative_to(PROJECT_ROOT)
        for path in sorted((PROJECT_ROOT / "infra").rglob("*.py"))
        if any(name.split(".")[0] == "soak_pipeline" for name in _imports(ast.parse(path.read_text())))
    ]
    assert importers == []
