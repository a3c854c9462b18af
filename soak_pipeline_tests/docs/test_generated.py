"""Commands, options, limits and headrooms stand in the documents as they are in the code."""

from __future__ import annotations

import click
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.cli import app
from soak_pipeline.model.errors import (
    EXIT_BAD_INPUT,
    EXIT_FAIL,
    EXIT_HARNESS_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_PASS,
)
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline_tests.docs.generated import PARTS, leaves, marks
from soak_pipeline_tests.docs.markdown import rows, section
from soak_pipeline_tests.policies import default_thresholds

COMMANDS = (PROJECT_ROOT / "docs" / "commands.md").read_text()
CRITERIA = (PROJECT_ROOT / "docs" / "criteria.md").read_text()


@pytest.mark.parametrize("name", PARTS)
def test_what_is_written_from_the_code_is_up_to_date(name: str) -> None:
    document, write = PARTS[name]
    begin, end = marks(name)
    written = (PROJECT_ROOT / document).read_text().split(begin)[1].split(end)[0]
    assert written == write(), "run `python -m soak_pipeline_tests.docs.generated`"


ALL = dict(leaves(app.commands))


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_is_documented(name: str) -> None:
    text = section(COMMANDS, f"### soak {name}")
    documented = {cells[0].strip("`").split(" ")[0] for cells in rows(text)}
    assert documented == {option.opts[0] for option in ALL[name].params if isinstance(option, click.Option)}
    arguments = [param for param in ALL[name].params if isinstance(param, click.Argument)]
    with click.Context(ALL[name]) as context:
        assert [param.name for param in arguments if param.make_metavar(context) not in text] == []


def test_every_command_says_what_it_needs() -> None:
    table = " ".join(
        cells[1] for cells in rows(COMMANDS) if cells[0].startswith(("the platform", "stored runs", "nothing"))
    )
    assert [name for name in app.commands if table.count(f"`{name}`") != 1] == []


def test_every_limit_and_headroom_is_documented() -> None:
    limits = {cells[0].strip("`"): float(cells[1]) for cells in rows(section(CRITERIA, "## Limits"))}
    assert limits == {name: getattr(default_thresholds(), name) for name in Thresholds.__struct_fields__}
    series = {cells[0].strip("`") for cells in rows(section(CRITERIA, "## nothing_leaks"))}
    assert series == set(LEAK_SERIES)


def test_every_exit_code_is_documented() -> None:
    codes = {int(cells[0]) for cells in rows(section(COMMANDS, "## Exit codes"))}
    assert codes == {EXIT_PASS, EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_HARNESS_FAILED, EXIT_BAD_INPUT}
