"""Dagster's home: the folder of its runs, with the project's settings of an instance.

Knows the folder and the file; Dagster itself reads them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from soak_pipeline import PROJECT_ROOT

INSTANCE_SETTINGS = PROJECT_ROOT / "infra" / "dagster" / "dagster.yaml"


def prepare_dagster_home(home: Path) -> None:
    """Makes the folder, with the project's settings unless it has its own."""
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        shutil.copyfile(INSTANCE_SETTINGS, settings)
