"""A run is watched from its folder: its stages, its progress, its verdict."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from soak_pipeline.commands.stored_run import report_stored
from soak_pipeline.commands.watch import SILENCE_LIMIT_S, watch_run
from soak_pipeline.evidence.run_folder import RunFolder, write_json
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.progress import Progress
from soak_pipeline.stages.target_lock import hold_target, is_held_by, release_target
from soak_pipeline_tests.evidence_factory import make_run

PROGRESS = Progress(session="soak", phase="soak", users=100, requests_per_second=99.6, seconds_left=61.0)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = make_run(tmp_path / "reports")
    _let_time_pass(folder)
    return folder


def _let_time_pass(folder: RunFolder) -> None:
    """Makes every file of a run older than the limit of silence."""
    for path in (folder.path, *folder.path.rglob("*")):
        then = path.stat().st_mtime - 2 * SILENCE_LIMIT_S
        os.utime(path, (then, then))


def _watch(path: Path | None, folder: RunFolder, sleep: Callable[[float], None]) -> int:
    environment = {"SOAK_STATE_DIR": str(folder.reports.parent / "state")}
    return watch_run(path, folder.reports, environment, Console(file=io.StringIO()), sleep=sleep)


def _never(_: float) -> None:
    raise AssertionError("there is nothing to wait for")


def test_a_judged_run_shows_its_verdict_at_once(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    report_stored(run.path)
    assert _watch(run.path, run, _never) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "soak is done" in shown
    assert shown[-1] == f"verdict: PASS {run.path / 'verdict.json'}"


def test_the_newest_run_is_watched_when_none_is_named(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    report_stored(run.path)
    shutil.copytree(run.path, run.path.with_name("20250101T000000Z"))
    assert _watch(None, run, _never) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"{run.run_id}/verdict.json")


def test_stages_progress_and_verdict_are_shown_as_they_come(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    looks = 0

    def meanwhile(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            write_json(run.control_dir / "progress.json", PROGRESS)
        elif looks == 2:
            run.write_output("teardown", {})
        else:
            report_stored(run.path)

    os.utime(run.path)
    assert _watch(run.path, run, meanwhile) in (0, 1, 2)
    shown = capsys.readouterr().out.splitlines()
    assert shown.index(PROGRESS.line()) < len(shown) - 1 - shown[::-1].index("teardown is done")
    assert shown[-1].startswith("verdict: ")


def test_a_run_that_nobody_carries_any_more_is_inconclusive(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert _watch(run.path, run, _never) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("verdict: INCONCLUSIVE the run ended without one")


def test_a_silent_run_is_waited_for_while_a_process_holds_its_target(run: RunFolder) -> None:
    environment = {"SOAK_STATE_DIR": str(run.reports.parent / "state")}
    target = run.read_plan().target.name
    hold_target(target, run.run_id, environment)
    waits = 0

    def meanwhile(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            release_target(target, environment)
            (run.reports.parent / "state" / "locks" / f"{target}.lock").unlink()

    try:
        assert _watch(run.path, run, meanwhile) == 2
    finally:
        release_target(target, environment)
    assert waits == 3


def test_a_target_is_held_only_by_a_living_process_and_for_its_run(tmp_path: Path) -> None:
    environment = {"SOAK_STATE_DIR": str(tmp_path)}
    assert not is_held_by("local", "20260731T120000Z", environment)
    hold_target("local", "20260731T120000Z", environment)
    try:
        assert is_held_by("local", "20260731T120000Z", environment)
        assert not is_held_by("local", "20260731T120001Z", environment)
        assert not is_held_by("other", "20260731T120000Z", environment)
    finally:
        release_target("local", environment)
    lock = tmp_path / "locks" / "local.lock"
    # Linux gives no process an id above four million.
    lock.write_text("run 20260731T120000Z, process 4999999")
    assert not is_held_by("local", "20260731T120000Z", environment)
    lock.write_text("anything")
    assert not is_held_by("local", "20260731T120000Z", environment)


def test_without_a_run_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="soak run"):
        watch_run(None, tmp_path, {}, Console(file=io.StringIO()), sleep=_never)
    with pytest.raises(BadInput, match="no run folder"):
        watch_run(tmp_path / "soak" / "20250101T000000Z", tmp_path, {}, Console(file=io.StringIO()), sleep=_never)
