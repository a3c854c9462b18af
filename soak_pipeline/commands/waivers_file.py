"""Reads a waivers file. A file with one wrong entry is refused whole: nobody can know what was meant by it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.waivers import Waiver

MAX_FILE_BYTES = 256 * 1024


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """The waivers of a YAML or JSON file: a list of entries, or a mapping with the one key `waivers`.

    Raises:
        BadInput: unreadable, empty, no such format, or an entry that is not a valid waiver; every problem is named.
    """
    subject = f"waivers {path}"
    # The gate starts quicker without it, and is mostly asked without waivers.
    from soak_pipeline.config.plain_yaml import read_plain_yaml

    document = read_plain_yaml(path, subject, limit_bytes=MAX_FILE_BYTES)
    if isinstance(document, dict) and set(document) == {"waivers"}:
        document = document["waivers"]
    if not isinstance(document, list):
        raise BadInput(subject, ["holds no list of waivers; write `waivers:` and one entry per criterion below it"])
    waivers, problems = [], []
    for number, entry in enumerate(document, 1):
        try:
            waiver = msgspec.convert(entry, Waiver)
        except msgspec.ValidationError as error:
            problems.append(f"entry {number}: {error}")
            continue
        problems += [f"entry {number}: {problem}" for problem in waiver.problems(CRITERION_NAMES)]
        waivers.append(waiver)
    if problems:
        raise BadInput(subject, problems)
    return tuple(waivers)
