"""`docs/target_file.md` has every key of a target file with its default."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.model.target import DatabaseNames, Target
from soak_pipeline.target.config import load_target
from soak_pipeline_tests.docs.markdown import rows, section

TEXT = (PROJECT_ROOT / "docs" / "target_file.md").read_text()
TABLE = rows(section(TEXT, "## Keys"))
FIELDS = {field.name: field for field in msgspec.structs.fields(Target)}


def test_every_key_has_its_row() -> None:
    documented = [name for cells in TABLE for name in re.findall(r"`(\w+)`", cells[0])]
    assert sorted(documented) == sorted(FIELDS)


def test_every_database_is_named() -> None:
    (row,) = (cells for cells in TABLE if cells[0] == "`databases`")
    assert [name for name in DatabaseNames.__struct_fields__ if f"`{name}`" not in " ".join(row)] == []


def test_the_defaults_are_those_of_the_code() -> None:
    for cells in TABLE:
        names = re.findall(r"`(\w+)`", cells[0])
        shown = re.findall(r"`([^`]+)`", cells[2])
        for name, default in zip(names, shown, strict=False):
            assert msgspec.json.encode(FIELDS[name].default).decode().strip('"') == default


def test_the_example_is_a_target_file(tmp_path: Path) -> None:
    example = tmp_path / "staging.yaml"
    example.write_text("\n".join(line[4:] for line in TEXT.split("\n## ")[0].splitlines() if line.startswith("    ")))
    assert load_target(example).allow_load
