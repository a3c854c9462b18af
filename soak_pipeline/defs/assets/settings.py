"""What the assets of a soak run have in common."""

from __future__ import annotations

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


def code_version_of(*parts: str) -> str:
    """A code version that changes with the code that decides, so that stored runs show up as judged by older code.

    Args:
        parts: folders or modules of the package, such as `criteria` or `model/thresholds.py`.

    Returns:
        12 hexadecimal digits of the SHA-256 of their sources.
    """
    digest = hashlib.sha256()
    for part in parts:
        path = _PACKAGE / part
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{source.relative_to(_PACKAGE).as_posix()}\0".encode() + source.read_bytes())
    return digest.hexdigest()[:12]
