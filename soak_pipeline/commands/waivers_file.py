"""Reads a waivers file. A file with one wrong entry is refused whole: nobody can know what was meant by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.waivers import Waiver

MAX_FILE_BYTES = 256 * 1024


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """The waivers of a YAML or JSON file: a list of entries, or a mapping with the one key `waivers`.

    Raises:
        BadInput: unreadable, empty, no such format, or an entry that is not a valid waiver; every problem is named.
    """
    subject = f"waivers {path}"
    document = _document(path, subject)
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
        problems += [f"entry {number}: {problem}" for problem in waiver.problems()]
        waivers.append(waiver)
    if problems:
        raise BadInput(subject, problems)
    return tuple(waivers)


def _document(path: Path, subject: str) -> Any:
    """The parsed file; JSON is read as the YAML that it is."""
    import yaml

    class StrictLoader(yaml.SafeLoader):
        """Refuses a key that stands twice, of which YAML would silently take the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            if twice := next((key for key in keys if keys.count(key) > 1), None):
                raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands twice", node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(subject, [f"cannot be read: {error.strerror or type(error).__name__}"]) from error
    if len(data) > MAX_FILE_BYTES:
        raise BadInput(subject, [f"is larger than {MAX_FILE_BYTES} bytes"])
    try:
        return yaml.load(data.decode(), Loader=StrictLoader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadInput(subject, [f"is neither YAML nor JSON: {where}{error.problem}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        raise BadInput(subject, [f"is neither YAML nor JSON: {type(error).__name__}"]) from error
