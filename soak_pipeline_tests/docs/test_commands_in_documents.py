"""Every command in the documents is one that exists, with options that it takes."""

from __future__ import annotations

import argparse
import importlib.util
import re
from pathlib import Path

import click
import pytest

from infra.acp.__main__ import _parser
from soak_pipeline import PROJECT_ROOT
from soak_pipeline.cli import app
from soak_pipeline_tests.docs.markdown import DOCUMENTS, blocks, calls, name_of, words_in_code

MAKEFILE = (PROJECT_ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))
each = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


@each
def test_every_call_of_soak_is_understood(path: Path) -> None:
    problems = {" ".join(words): _problem_with(list(words)) for words in calls(path.read_text(), "soak")}
    assert {call: problem for call, problem in problems.items() if problem} == {}


def _problem_with(arguments: list[str]) -> str:
    """Why the command line refuses some arguments; arguments that a sentence leaves out are no reason."""
    name, *rest = arguments
    if name == "COMMAND" or "|" in " ".join(rest):
        return ""
    if any(name in parameter.opts for parameter in app.params):
        return ""
    command: click.Command | None = app.commands.get(name)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, *rest = rest
        command = command.commands.get(name)
    if command is None:
        return "no such command"
    try:
        with click.Context(app) as parent:
            command.make_context(name, rest, parent=parent)
    except click.exceptions.Exit:
        return ""
    except click.MissingParameter:
        return ""
    except click.UsageError as error:
        return error.message
    return ""


def test_a_wrong_call_is_refused() -> None:
    assert "no such command" in _problem_with(["jduge", "20261123T073000Z"])
    assert "--thresholds" in _problem_with(["judge", "20261123T073000Z", "--thresholds", "x=1"])
    assert "xml" in _problem_with(["gate", "--level", "nightly", "--release", "v1", "--format", "xml"])
    assert "no such command" in _problem_with(["policy", "shw"])


@each
def test_every_call_of_the_reference_platform_is_understood(path: Path) -> None:
    text = path.read_text()
    called = {words[0] for program in ("acp", "python -m infra.acp", "soak stack") for words in calls(text, program)}
    choices = next(action.choices for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert {name for name in called - set(choices or ()) if not name.startswith("{")} == set()


@each
def test_every_call_of_make_has_its_target(path: Path) -> None:
    called = {words[0].rstrip(";,") for words in calls(path.read_text(), "make")}
    assert called - TARGETS == set()


def test_every_target_of_make_is_documented() -> None:
    called = {words[0].rstrip(";,") for path in DOCUMENTS for words in calls(path.read_text(), "make")}
    assert TARGETS - called == set()
    assert set(re.findall(r"\.PHONY: (.*)", MAKEFILE)[0].split()) == TARGETS


@each
def test_every_module_that_is_run_exists(path: Path) -> None:
    text = path.read_text()
    lines = [*blocks(text), *words_in_code(text)]
    modules = {name for line in lines for name in re.findall(r"python -m ([\w.]+)", line)}
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()


def test_the_readme_shows_its_two_commands_first_and_stays_short() -> None:
    text = (PROJECT_ROOT / "README.md").read_text()
    assert [list(words) for words in calls(text, "make")][:2] == [["soak"], ["test"]]
    assert len(text.splitlines()) <= 90
