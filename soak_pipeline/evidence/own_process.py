"""How a module of this package is started as a process of its own.

Owns the interpreter and the import path: a process finds the same package as its parent, from whichever folder either
was started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import soak_pipeline


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line of a module, such as `soak_pipeline.load.supervision`. Not for secrets."""
    return [sys.executable, "-m", module, *arguments]


def module_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which `module_command` imports the package that is running now."""
    root = str(Path(soak_pipeline.__file__).parent.parent)
    return {**environment, "PYTHONPATH": os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])}
