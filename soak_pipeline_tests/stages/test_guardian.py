"""The guardian acts when everybody who held its lifeline is gone, and never after a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from soak_pipeline.stages.guardian import LOG_FILE, OVER, start_guardian, stop_persistently, watch
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for, wait_until_gone

HOLDER = """
import sys, os
from pathlib import Path
from soak_pipeline.stages.guardian import start_guardian
guardian = start_guardian(Path(sys.argv[1]), os.environ, sys.argv[2:])
print(guardian._process.pid, flush=True)
sys.stdin.readline()
guardian.dismiss()
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder without a plan: there is nothing to stop, but the guardian notes that it looked."""
    path = tmp_path / "soak" / "20261123T073000Z"
    (path / "control").mkdir(parents=True)
    return path


@pytest.fixture
def holder(run_dir: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process that holds a guardian whose command leaves a mark, and the guardian."""
    mark = (sys.executable, "-c", f"open({str(tmp_path / 'mark')!r}, 'w')")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run_dir), *mark], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    guardian = psutil.Process(int(process.stdout.readline()))
    yield process, guardian
    process.kill()
    process.communicate()
    guardian.wait(PATIENCE_S)


def test_it_acts_when_its_holder_is_killed(
    holder: tuple[subprocess.Popen[str], psutil.Process], run_dir: Path, tmp_path: Path
) -> None:
    process, guardian = holder
    process.kill()
    wait_until_gone(guardian)
    assert (tmp_path / "mark").exists()
    assert "is gone, and the run was not over" in (run_dir / "control" / LOG_FILE).read_text()


def test_it_never_acts_after_a_clean_end(
    holder: tuple[subprocess.Popen[str], psutil.Process], run_dir: Path, tmp_path: Path
) -> None:
    process, guardian = holder
    process.communicate("\n", timeout=PATIENCE_S)
    wait_until_gone(guardian)
    assert not (tmp_path / "mark").exists()
    assert not (run_dir / "control" / LOG_FILE).exists()


def test_no_signal_of_a_terminal_ends_it(holder: tuple[subprocess.Popen[str], psutil.Process], tmp_path: Path) -> None:
    process, guardian = holder
    # Until it ignores signals it is still loading, and a signal would end it as any process.
    wait_for(lambda: _ignores_sigterm(guardian.pid), "the guardian has loaded")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        guardian.send_signal(number)
    assert guardian.is_running()
    process.kill()
    wait_until_gone(guardian)
    assert (tmp_path / "mark").exists()


def _ignores_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(ignored & 1 << (signal.SIGTERM - 1))


def test_whoever_inherits_the_lifeline_keeps_it_waiting(tmp_path: Path) -> None:
    mark = (sys.executable, "-c", f"open({str(tmp_path / 'mark')!r}, 'w')")
    guardian = start_guardian(None, os.environ, mark)
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(guardian.lifeline,))
    os.close(os.dup(guardian.lifeline))
    guardian._lifeline.close()
    with pytest.raises(subprocess.TimeoutExpired):
        guardian._process.wait(0.5)
    heir.kill()
    heir.communicate()
    assert guardian._process.wait(PATIENCE_S) == 0
    assert (tmp_path / "mark").exists()


def test_its_command_line_has_no_secret(holder: tuple[subprocess.Popen[str], psutil.Process], run_dir: Path) -> None:
    _, guardian = holder
    # A process that was only forked has no command line of its own yet.
    words = wait_for(guardian.cmdline, "the guardian has a command line")
    assert words[1:4] == ["-m", "soak_pipeline.stages.guardian", str(run_dir)]
    assert words[4] == "--"


@pytest.mark.parametrize(
    ("heard", "acts"), [(OVER + b"\n", False), (b"", True), (b"ov", True), (b"noise\nover\n", False)]
)
def test_the_word_decides(heard: bytes, acts: bool) -> None:
    reading, writing = os.pipe()
    os.write(writing, heard)
    os.close(writing)
    acted: list[bool] = []
    assert watch(reading, lambda: acted.append(True)) is acts
    os.close(reading)
    assert acted == ([True] if acts else [])


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_it_tries_until_every_tenant_is_blocked() -> None:
    clock = Clock()
    answers = iter(["the gateway does not answer", "tenant E is not blocked", ""])
    lines: list[str] = []
    assert stop_persistently(lambda: next(answers), lines.append, sleep=clock.sleep, clock=clock)
    assert lines[:2] == ["the gateway does not answer", "tenant E is not blocked"]
    assert lines[2].startswith("the load is stopped and every tenant is blocked, 6.0 s")


def test_its_patience_ends() -> None:
    clock = Clock()
    lines: list[str] = []
    assert not stop_persistently(lambda: "unreachable", lines.append, patience_s=10.0, sleep=clock.sleep, clock=clock)
    assert lines[-1].startswith("given up after 12 s")
