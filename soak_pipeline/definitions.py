"""The code location that Dagster loads: everything below `soak_pipeline/defs/`. It defines nothing itself."""

from __future__ import annotations

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Every asset, check, job, schedule, sensor and resource of the pipeline."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
