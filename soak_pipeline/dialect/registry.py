"""Which dialects there are: each file of `platforms/` is one, by its name."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from functools import cache
from importlib import import_module

from soak_pipeline.dialect import platforms
from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.target import DEFAULT_DIALECT, Target


def dialect_names() -> tuple[str, ...]:
    """What a target file may say, the default first."""
    found = (module.name.replace("_", "-") for module in pkgutil.iter_modules(platforms.__path__))
    return tuple(sorted(found, key=lambda name: (name != DEFAULT_DIALECT, name)))


def dialect_modules() -> tuple[str, ...]:
    """Full names of the files, in the same order; they are imported by name, when a target says so."""
    return tuple(map(_module_of, dialect_names()))


def dialect_of(target: Target) -> Dialect:
    """The words of a target: its dialect's, with what the target file says otherwise.

    Raises:
        BadInput: no such dialect.
    """
    dialect = _named(target.dialect)
    if target.execute_path is None:
        return dialect
    return replace(dialect, execution=replace(dialect.execution, path=target.execute_path))


@cache
def _named(name: str) -> Dialect:
    if name not in dialect_names():
        known = ", ".join(dialect_names())
        raise BadInput("dialect", [f"{name!r} is not known to this version of the harness; known: {known}"])
    dialect: Dialect = import_module(_module_of(name)).DIALECT
    return dialect


def _module_of(name: str) -> str:
    return f"{platforms.__name__}.{name.replace('-', '_')}"
