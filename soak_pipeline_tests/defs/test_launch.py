"""The launcher as `soak run` uses it: a real process, a real Dagster instance on disk, fake stages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.stage_outputs import PhaseEvidence, StageStatus, TeardownReceipt
from soak_pipeline.stages.dagster_home import prepare_dagster_home
from soak_pipeline_tests.defs.conftest import RUN_ID
from soak_pipeline_tests.waiting import PATIENCE_S

Status = dg.DagsterRunStatus


class Launcher:
    """Starts launchers that share one `DAGSTER_HOME` and one reports folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.reports = folder / "reports"

    def folder(self, run_id: str = RUN_ID) -> RunFolder:
        return RunFolder(self.reports, run_id)

    @contextmanager
    def start(
        self, request: str = "{}", run_id: str = RUN_ID, job: str = "smoke_soak", **switches: str
    ) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "soak_pipeline_tests.defs.fake_launch", "--run-id", run_id, "--job", job]
        process = subprocess.Popen(
            [*command, "--reports", str(self.reports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=PROJECT_ROOT,
            env={**os.environ, "DAGSTER_HOME": str(self.home), **switches},
        )
        try:
            assert process.stdin is not None
            process.stdin.write(request + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE_S)
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                with suppress(BrokenPipeError):
                    stream.close()

    def run(self, request: str = "{}", **arguments: str) -> tuple[int, list[str]]:
        """Exit code and printed lines of a launcher whose lifeline holds to the end."""
        with self.start(request, **arguments) as process:
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
            return process.wait(PATIENCE_S), lines

    def statuses(self) -> dict[str, Status]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return {run.tags["dagster/partition"]: run.status for run in instance.get_runs()}


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(tmp_path)


def _wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for printed in process.stdout:
        if printed.rstrip() == line:
            return
    pytest.fail(f"{line!r} was never printed")


def test_a_run_to_its_verdict(launcher: Launcher) -> None:
    code, lines = launcher.run('{"profile": "smoke", "release": "v1"}')
    assert code == 0, lines
    assert launcher.statuses() == {RUN_ID: Status.SUCCESS}
    assert launcher.folder().read_plan().release == "v1"
    assert "soak: provision runs" in lines
    assert [line for line in lines if not line.startswith("soak: ")] == []


def test_an_instance_of_its_own_reports_nothing_to_anybody(tmp_path: Path) -> None:
    prepare_dagster_home(tmp_path / "home")
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        assert not instance.telemetry_enabled


def test_settings_of_the_operator_are_kept(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("nux: {enabled: false}\n")
    prepare_dagster_home(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == "nux: {enabled: false}\n"


def test_a_verdict_that_blocks_is_no_failure_of_the_harness(launcher: Launcher) -> None:
    code, _ = launcher.run(FAKE_VERDICT="FAIL")
    assert code == 0
    assert launcher.statuses() == {RUN_ID: Status.FAILURE}
    assert (launcher.folder().path / "verdict.json").is_file()


def test_a_stage_that_breaks_is(launcher: Launcher) -> None:
    code, lines = launcher.run(FAKE_ERROR_IN="soak")
    assert code == 3
    assert lines[-1] == "soak: stage soak failed: soak broke"


@pytest.mark.parametrize(
    ("request_line", "last_line"),
    [
        ("{", "soak: the request on standard input cannot be read: Input data was truncated"),
        (
            '{"profile": "smokey"}',
            "soak: stage provision failed: level 'smokey': is not in the policy; its levels are smoke, pull_request, "
            "nightly, pre_release",
        ),
    ],
)
def test_a_bad_request(launcher: Launcher, request_line: str, last_line: str) -> None:
    code, lines = launcher.run(request_line)
    assert (code, lines[-1]) == (254, last_line)


def test_an_instance_that_cannot_be_opened(launcher: Launcher) -> None:
    launcher.home.mkdir()
    (launcher.home / "dagster.yaml").write_text("storage: {sqlite: {base_dir: /proc/nowhere}}\n")
    code, lines = launcher.run()
    assert code == 3
    assert lines[-1].startswith("soak: the run could not be started or recorded: ")


@pytest.mark.parametrize(("run_id", "home"), [("../x", "home"), (RUN_ID, "")])
def test_bad_surroundings(launcher: Launcher, run_id: str, home: str) -> None:
    code, _ = launcher.run(run_id=run_id, DAGSTER_HOME=home and str(launcher.home))
    assert code == 254
    assert not launcher.reports.exists()


def _terminate(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)


def _cut_the_lifeline(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize(
    "stop",
    [_terminate, _cut_the_lifeline],
    ids=["SIGTERM", "lifeline"],
)
def test_a_cancelled_run_stops_its_load_and_blocks_its_tenants(
    launcher: Launcher, stop: Callable[[subprocess.Popen[str]], None]
) -> None:
    with launcher.start(FAKE_SOAK_S="600") as process:
        _wait_for_line(process, "soak: soak runs")
        stop(process)
        assert process.wait(PATIENCE_S) == 130
    assert launcher.statuses() == {RUN_ID: Status.CANCELED}
    control = launcher.folder().control_dir
    assert (control / "load_stopped.json").is_file()
    assert (control / "emergency.json").is_file()
    assert not (launcher.folder().path / "verdict.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_whose_exception_is_lost_stops_the_load_all_the_same(launcher: Launcher, number: int) -> None:
    with launcher.start(FAKE_SOAK_S="600", FAKE_LOSES="yes", FAKE_VERDICT="INCONCLUSIVE") as process:
        _wait_for_line(process, "soak: soak hears nothing")
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 130
    assert launcher.statuses() == {RUN_ID: Status.CANCELED}
    assert launcher.folder().read_output("soak", PhaseEvidence).status is StageStatus.CUT_SHORT
    assert launcher.folder().read_output("teardown", TeardownReceipt).lever == "rpm_limit"


def test_a_run_that_is_terminated_in_the_ui_ends_its_load_by_itself(launcher: Launcher) -> None:
    with launcher.start(FAKE_SOAK_S="600", FAKE_VERDICT="INCONCLUSIVE") as process:
        _wait_for_line(process, "soak: soak runs")
        with dg.DagsterInstance.from_config(str(launcher.home)) as instance:
            instance.report_run_canceling(instance.get_runs()[0])
        assert process.wait(PATIENCE_S) == 0
    assert launcher.statuses() == {RUN_ID: Status.CANCELED}
    assert launcher.folder().read_output("soak", PhaseEvidence).status is StageStatus.CUT_SHORT
    assert launcher.folder().read_output("teardown", TeardownReceipt).lever == "rpm_limit"


def test_what_a_killed_run_left_is_tidied_up_by_the_next(launcher: Launcher) -> None:
    with launcher.start(FAKE_SOAK_S="600") as process:
        _wait_for_line(process, "soak: soak runs")
        process.kill()
        process.wait(PATIENCE_S)
    assert launcher.statuses() == {RUN_ID: Status.STARTED}
    code, lines = launcher.run(run_id="20261123T080000Z")
    assert code == 0, lines
    assert launcher.statuses() == {RUN_ID: Status.FAILURE, "20261123T080000Z": Status.SUCCESS}
    assert (launcher.folder().control_dir / "emergency.json").is_file()
    assert f"the process of soak run {RUN_ID}" in lines[0]
