"""A command runs under the quota that was asked for, its exit code is kept, and nothing of it stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests.slow_machine import Group, Used, busy_loops, made_group, main
from soak_pipeline_tests.waiting import is_gone

CORES = 0.2


@pytest.fixture(name="group")
def _group() -> Group:
    made = made_group(CORES)
    if made is None:
        pytest.skip("no control group with a CPU quota may be made here; run as root, or with a delegated cgroup")
    made.remove()
    return made


def _slow(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "soak_pipeline_tests.slow_machine", f"--cores={CORES}", *arguments]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)


def _python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


USES_CPU = "import time\nwhile time.process_time() < 0.5: pass"
SHOWS_ITS_GROUP = "print(open('/proc/self/cgroup').read())"


def _group_of(output: str) -> Path:
    line = next(line for line in output.splitlines() if "by the quota of" in line)
    return Path(line.rsplit(" ", 1)[1])


@pytest.mark.usefixtures("group")
def test_a_command_that_wants_more_than_the_quota_has_to_wait() -> None:
    done = _slow(*_python(USES_CPU))
    assert done.returncode == 0, done.stderr
    assert "cores of 0.2, had to wait in" in done.stderr
    assert "had to wait in 0%" not in done.stderr


@pytest.mark.usefixtures("group")
def test_the_command_runs_in_the_group_and_the_group_is_removed() -> None:
    done = _slow(*_python(SHOWS_ITS_GROUP))
    folder = _group_of(done.stderr)
    assert any(line.endswith(f"/{folder.name}") for line in done.stdout.splitlines())
    assert folder.parent.exists()
    assert not folder.exists()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("way", [[], ["--busy-loops"]])
def test_the_exit_code_is_the_commands_own(way: list[str]) -> None:
    assert _slow(*way, *_python("raise SystemExit(7)")).returncode == 7
    assert _slow(*way, *_python("import os; os.kill(os.getpid(), 9)")).returncode == 128 + 9


@pytest.mark.usefixtures("group")
def test_what_the_command_left_running_is_named_and_ended(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("soak_pipeline_tests.slow_machine.GRACE_S", 0.5)
    leave = "import subprocess, sys; print(subprocess.Popen(['sleep', '987'], start_new_session=True).pid)"
    assert main([f"--cores={CORES}", *_python(leave)]) == 1
    output = capfd.readouterr()
    pid = int(output.out)
    assert f"left running, and ended now: {pid} sleep 987" in output.err
    assert is_gone(pid)
    assert not _group_of(output.err).exists()


def test_the_loops_run_beside_the_command_and_end_with_it() -> None:
    children = (
        "import psutil, os; print(*[c.pid for c in psutil.Process(os.getppid()).children() if c.pid != os.getpid()])"
    )
    done = _slow("--busy-loops", *_python(children))
    pids = done.stdout.split()
    assert f"beside {len(pids)} busy loops" in done.stderr
    assert pids
    assert [pid for pid in pids if not is_gone(int(pid))] == []


@pytest.mark.parametrize(
    ("cores", "machine", "loops"),
    [
        (0.5, 2, 6),  # 2 of 8 busy processes on 2 cores: half a core.
        (0.5, 1, 1),
        (1.0, 4, 12),  # 4 of 16 on 4 cores: one.
        (2.0, 2, 0),
    ],
)
def test_number_of_loops(cores: float, machine: int, loops: int) -> None:
    assert busy_loops(cores, machine) == loops


def test_what_was_used_is_one_line() -> None:
    assert Used(100.0, 45.0, 0.9).text(0.5) == (
        "100 s, 45 s of CPU, 0.45 cores of 0.5, had to wait in 90% of the periods"
    )
    assert Used(0.0, 0.0, None).text(0.5) == "0 s, 0 s of CPU, 0.00 cores of 0.5"


@pytest.mark.parametrize("cores", ["0", "1000", "nan"])
def test_cores_that_the_machine_does_not_have_are_refused(cores: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main([f"--cores={cores}", "--", "true"])
    assert refused.value.code == 2
    assert "allowed are 0.01 to the" in capsys.readouterr().err
