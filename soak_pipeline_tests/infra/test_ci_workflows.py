"""The workflows for GitHub Actions: valid by GitHub's schema, and every command in them exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.cli import app
from soak_pipeline.target.config import load_target
from soak_pipeline_tests.policies import profile_of
from soak_pipeline_tests.waiting import PATIENCE_S

WORKFLOWS = sorted((PROJECT_ROOT / "infra" / "ci").glob("*.yaml"))
LEVELS = {"pull-request": "pull_request", "nightly": "nightly", "pre-release": "pre_release"}
PROOF = PROJECT_ROOT / "infra" / "ci" / "proof.yaml"
MOST_PROOF_MINUTES = 15

each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
each_soak = pytest.mark.parametrize("path", [path for path in WORKFLOWS if path != PROOF], ids=lambda path: path.stem)


def _steps(path: Path) -> list[dict[str, Any]]:
    (job,) = yaml.safe_load(path.read_text())["jobs"].values()
    return list(job["steps"])


def _step(path: Path, name: str) -> dict[str, Any]:
    return next(step for step in _steps(path) if step.get("name") == name)


def _soak_commands(script: str) -> Iterator[list[str]]:
    """Arguments of each call of `soak`, variables left as they are."""
    for line in script.replace("\\\n", " ").splitlines():
        if match := re.match(r"\s*\.venv/bin/soak (.*)", line):
            yield [word for word in shlex.split(match[1]) if word != "${waivers[@]}"]


def _parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and its options, as the real command line reads them."""
    name, *rest = arguments
    command = app.commands[name]
    with click.Context(app) as parent:
        return name, dict(command.make_context(name, rest, parent=parent).params)


def test_there_is_one_per_level_and_one_proof() -> None:
    assert {path.stem for path in WORKFLOWS} == {*LEVELS, PROOF.stem}


def test_they_follow_the_schema_of_github() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run(
        [*command, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_finds_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(wrong)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S).returncode == 1


@each
def test_every_script_is_bash(path: Path) -> None:
    for script in (step["run"] for step in _steps(path) if "run" in step):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@each_soak
def test_it_soaks_and_asks_the_gate_about_the_same(path: Path) -> None:
    level = LEVELS[path.stem]
    ((run, soak),) = (_parsed(words) for words in _soak_commands(_step(path, "Soak")["run"]))
    ((gate, asked),) = (_parsed(words) for words in _soak_commands(_step(path, "Gate")["run"]))
    assert (run, gate) == ("run", "gate")
    assert (soak["profile"], asked["level"]) == (level, level)
    assert (soak["release"], soak["commit"]) == (asked["release"], asked["commit"]) == ("$RELEASE", "$COMMIT")
    assert asked["target"]


@each_soak
def test_only_the_gate_decides_and_the_report_is_always_kept(path: Path) -> None:
    names = [step.get("name") for step in _steps(path)]
    assert names[-3:] == ["Soak", "Gate", "Keep the report"]
    assert [step.get("name") for step in _steps(path) if step.get("continue-on-error")] == ["Soak"]
    assert _step(path, "Gate")["if"] == "${{ !cancelled() }}"
    assert _step(path, "Keep the report")["if"] == "${{ always() }}"


@each_soak
def test_the_waivers_reach_the_gate_when_there_are_some(path: Path, tmp_path: Path) -> None:
    """The step's own script, over a `soak` that prints its arguments."""
    soak = tmp_path / ".venv" / "bin" / "soak"
    soak.parent.mkdir(parents=True)
    soak.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    soak.chmod(0o755)

    def arguments() -> list[str]:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", _step(path, "Gate")["run"]],
            cwd=tmp_path, capture_output=True, text=True, check=True,
            env={"PATH": "/usr/bin:/bin", "RELEASE": "v1", "COMMIT": "0123abc", "TARGET_NAME": "embedded"},
        )  # fmt: skip
        return done.stdout.splitlines()

    without = arguments()
    assert without[0] == "gate"
    assert "--waivers" not in without
    (tmp_path / "soak-waivers.yaml").write_text("waivers: []\n")
    assert arguments() == [*without, "--waivers", "soak-waivers.yaml"]


@each_soak
def test_there_is_time_for_the_soak_and_an_end(path: Path) -> None:
    (job,) = yaml.safe_load(path.read_text())["jobs"].values()
    profile = profile_of(LEVELS[path.stem])
    assert profile.soak_s / 60 + 30 <= job["timeout-minutes"] < 360


def test_the_proof_runs_the_reduced_rows_and_decides_itself() -> None:
    names = [step.get("name") for step in _steps(PROOF)]
    assert names[-2:] == ["Prove", "Keep the matrix"]
    assert [step for step in _steps(PROOF) if step.get("continue-on-error")] == []
    assert _step(PROOF, "Keep the matrix")["if"] == "${{ always() }}"
    target, *_ = _step(PROOF, "Prove")["run"].removeprefix("make ").split()
    asked = subprocess.run(["make", "--dry-run", target], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    ((command, options),) = (_parsed(words) for words in _soak_commands(asked.stdout))
    assert (command, options["reduced"], options["names"]) == ("prove", True, ())
    # What the artefact holds is where the proof writes it, from the root of the repository.
    assert _step(PROOF, "Keep the matrix")["with"]["path"] == f"{options['reports']}/prove"


def test_there_is_time_for_the_proof_and_an_installation() -> None:
    (job,) = yaml.safe_load(PROOF.read_text())["jobs"].values()
    assert MOST_PROOF_MINUTES + 10 <= job["timeout-minutes"] <= 30


@each
def test_it_may_read_and_nothing_else(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    checkout = _steps(path)[0]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"]["persist-credentials"] is False


@each
def test_what_comes_from_outside_reaches_no_script_as_text(path: Path) -> None:
    """An expression in a script would let a branch or tag name run commands."""
    assert [step["name"] for step in _steps(path) if "${{" in step.get("run", "")] == []


def test_the_default_target_has_the_default_name() -> None:
    assert load_target(PROJECT_ROOT / "infra" / "targets" / "embedded.yaml").name == "embedded"
