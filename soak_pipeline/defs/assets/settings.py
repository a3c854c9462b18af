"""What the assets of a soak run have in common."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

OWNERS = ["team:soak"]

SENDS_LOAD = {"sends_load": "yes", "needs": "platform"}
NEEDS_PLATFORM = {"sends_load": "no", "needs": "platform"}
NEEDS_RUN_FOLDER = {"sends_load": "no", "needs": "run_folder"}
"""Tags: `needs:run_folder` finds what can be materialised again with the platform long gone."""

MEASURED_AS = "1"
"""Code version of the stages that measure. Raised by hand, when what they measure means something else: a version that
changed by itself would ask operators to send the load of every old run again."""

_PACKAGE = Path(__file__).resolve().parents[2]
_NAME = _PACKAGE.name
_TEMPLATES = (".j2", ".css", ".js")


def code_version_of(*modules: str) -> str:
    """A code version that changes with the code that decides, so that stored runs show up as judged by older code.

    Everything counts that a module can reach: its imports within this package, wherever in the source they stand, and
    theirs, with the templates beside them. The default policy does not: what it said is in each run's plan.

    Args:
        modules: by their full names; those that are imported by a name made at run time have to be given as well.

    Returns:
        12 hexadecimal digits of the SHA-256 of the sources.
    """
    digest = hashlib.sha256()
    for source in sources_of(*modules):
        digest.update(f"{source.relative_to(_PACKAGE).as_posix()}\0".encode() + source.read_bytes())
    return digest.hexdigest()[:12]


def sources_of(*modules: str) -> list[Path]:
    """The files that some modules of this package can reach, sorted."""
    reached: set[Path] = set()
    waiting = [path for module in modules if (path := _source_of(module)) is not None]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        waiting += _imported_by(path)
    beside = {
        file
        for folder in {path.parent for path in reached} - {_PACKAGE}
        for file in folder.iterdir()
        if file.suffix in _TEMPLATES
    }
    return sorted(reached | beside)


def _imported_by(path: Path) -> list[Path]:
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found += [source for name in names if (source := _source_of(name)) is not None]
    return found


def _source_of(module: str) -> Path | None:
    """The file of a module of this package; None for anything else."""
    package, *parts = module.split(".")
    if package != _NAME:
        return None
    path = _PACKAGE.joinpath(*parts)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
