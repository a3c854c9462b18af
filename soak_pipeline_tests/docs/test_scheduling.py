"""`docs/scheduling.md` names every variable and key by which soaks start by themselves."""

from __future__ import annotations

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.candidates.candidate import Candidate
from soak_pipeline.defs import release_candidates, schedules

TEXT = (PROJECT_ROOT / "docs" / "scheduling.md").read_text()


def test_every_variable_is_documented() -> None:
    variables = {
        value
        for module in (schedules, release_candidates)
        for name, value in vars(module).items()
        if name.endswith("_VARIABLE")
    }
    assert len(variables) == 9
    assert [value for value in variables if f"`{value}`" not in TEXT] == []


def test_the_defaults_are_documented() -> None:
    defaults = {schedules.DEFAULT_CRON, schedules.DEFAULT_TARGET_FILE, release_candidates.DEFAULT_TAGS}
    assert [value for value in defaults if f"`{value}`" not in TEXT] == []


def test_every_key_of_a_dropped_file_is_documented() -> None:
    assert [name for name in Candidate.__struct_fields__ if f"| `{name}` |" not in TEXT] == []
