"""Each process of a load session is killed in mid-session: the load ends and no process is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.request_writer import salvage
from soak_pipeline.evidence.requests import read_requests
from soak_pipeline.evidence.run_folder import read_json
from soak_pipeline.model.stage_outputs import SessionReport, StageStatus
from soak_pipeline_tests.load.example_run import behaviour_for, example_plan
from soak_pipeline_tests.load.processes import load_processes
from soak_pipeline_tests.load.small_platform import RunningPlatform, running_platform
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

STAGE = "soak_pipeline_tests.load.stage_process"
SESSION_S = 2 * PATIENCE_S
"""So long that what ends while the test waits has ended before its time."""


class Session:
    """A session under a stage in its own process."""

    def __init__(self, run_dir: Path, platform: RunningPlatform, stage: subprocess.Popen[str]) -> None:
        self.run_dir = run_dir
        self.platform = platform
        self.stage = stage

    def pid_of(self, role: str) -> int:
        """The first process of a role."""
        return min(load_processes(self.run_dir, role))

    def executions(self) -> int:
        return sum(count for route, count in self.platform.seen()["seen"].items() if "/execute/" in route)

    def report(self) -> SessionReport:
        return read_json(self.run_dir / "control" / "session-soak.json", SessionReport)

    def assert_it_ends(self, killed_s: float) -> None:
        """The load ends, everything is gone, and what was sent until shortly before is in the records.

        How soon is measured with the whole pipeline, in `soak_pipeline_tests/crash`.
        """
        wait_for(lambda: not load_processes(self.run_dir), "all load processes are gone")
        gone_s = time.monotonic() - killed_s
        seen = self.platform.seen()
        last_request_s = seen["last_request_s"] - killed_s
        print(f"last request {last_request_s:.1f} s after the kill, last process gone after {gone_s:.1f} s")
        time.sleep(1.0)
        assert self.platform.seen()["total"] == seen["total"]
        self._wait_for_the_stage()
        salvage(self.run_dir / "requests")
        # A worker that is killed loses its last second, at 44 requests per second.
        assert len(read_requests(self.run_dir / "requests")) >= seen["total"] - 100

    def _wait_for_the_stage(self) -> None:
        """A stage that lives puts its records in order as well; one that was frozen never ends."""
        if psutil.Process(self.stage.pid).status() != psutil.STATUS_STOPPED:
            self.stage.wait(PATIENCE_S)

    def stage_says(self) -> str:
        """What the stage printed when it ended."""
        output, _ = self.stage.communicate(timeout=PATIENCE_S)
        return output


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    plan = example_plan()
    with running_platform(behaviour_for(plan)) as platform:
        stage = subprocess.Popen(
            [sys.executable, "-m", STAGE, str(tmp_path), platform.url, str(SESSION_S)],
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        session = Session(tmp_path, platform, stage)
        try:
            wait_for(lambda: session.executions() > 50, "the load is on")
            yield session
        finally:
            for pid in (*load_processes(tmp_path), stage.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            stage.wait(PATIENCE_S)
            if stage.stdout:
                stage.stdout.close()


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> float:
    """Kills a process; when (monotonic)."""
    os.kill(pid, number)
    return time.monotonic()


def test_the_stage(session: Session) -> None:
    session.assert_it_ends(kill(session.stage.pid))
    report = session.report()
    assert report.status is StageStatus.CUT_SHORT
    assert report.records > 0


def test_the_stage_stops_renewing_but_lives(session: Session) -> None:
    # Frozen, not gone: nothing but the lease can tell.
    session.assert_it_ends(kill(session.stage.pid, signal.SIGSTOP))
    report = session.report()
    assert report.status is StageStatus.CUT_SHORT
    assert "lease" in report.reason


def test_the_stage_and_the_supervisor_at_once(session: Session) -> None:
    kill(session.stage.pid)
    session.assert_it_ends(kill(session.pid_of("supervision")))


def test_the_supervisor(session: Session) -> None:
    session.assert_it_ends(kill(session.pid_of("supervision")))
    assert session.stage_says().startswith("failed the load supervisor was killed by signal 9")
    report = session.report()
    assert report.status is StageStatus.FAILED
    assert report.records > 0


def test_the_master(session: Session) -> None:
    session.assert_it_ends(kill(session.pid_of("master")))
    assert session.stage_says().startswith("failed the Locust master was lost: killed by SIGKILL")


def test_a_worker(session: Session) -> None:
    session.assert_it_ends(kill(session.pid_of("worker")))
    assert "was lost: killed by SIGKILL" in session.stage_says()
    report = session.report()
    assert report.status is StageStatus.FAILED
    assert any(worker.lost for worker in report.workers)


def test_ctrl_c(session: Session) -> None:
    session.assert_it_ends(kill(session.stage.pid, signal.SIGINT))
    assert session.report().status is StageStatus.CUT_SHORT
