"""Reading how far a run is, for everybody who shows it. Live figures only: nothing here is evidence."""

from __future__ import annotations

from pathlib import Path

from soak_pipeline.evidence.run_folder import read_json
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.progress import Progress


def read_progress(path: Path) -> Progress | None:
    """The newest live figures; None when there are none."""
    try:
        return read_json(path, Progress)
    except EvidenceUnreadable:
        return None
