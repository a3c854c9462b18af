"""What `soak ui` does with Dagster's processes when Dagster has ended, or it has to end."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml
from dagster._grpc.utils import (
    default_grpc_timeout,
    default_repository_grpc_timeout,
    default_schedule_grpc_timeout,
    default_sensor_grpc_timeout,
)

from soak_pipeline.commands.ui import GRPC_TIMEOUT_S, dagster_environment, end_group, serve
from soak_pipeline.model.errors import EXIT_HARNESS_FAILED
from soak_pipeline.stages.dagster_home import INSTANCE_SETTINGS
from soak_pipeline.stages.guardian import MODULE as GUARDIAN_MODULE
from soak_pipeline_tests.waiting import PATIENCE_S

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(3600)"
)
FAMILY = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); child.wait()"


@pytest.mark.parametrize(
    ("given", "timeout_s"),
    [({}, 300), ({"DAGSTER_GRPC_TIMEOUT_SECONDS": ""}, 300), ({"DAGSTER_GRPC_TIMEOUT_SECONDS": "45"}, 45)],
)
def test_dagster_waits_for_its_code_server_as_long_as_it_is_told(
    given: dict[str, str], timeout_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = dagster_environment({"PATH": "/bin", **given}, Path("/home/of/dagster"), Path("results"))
    assert environment["PATH"] == "/bin"
    assert environment["DAGSTER_HOME"] == "/home/of/dagster"
    assert environment["SOAK_REPORTS_DIR"] == str(Path.cwd() / "results")
    for name in ("REPOSITORY", "SCHEDULE", "SENSOR"):
        monkeypatch.delenv(f"DAGSTER_{name}_GRPC_TIMEOUT_SECONDS", raising=False)
    monkeypatch.setenv("DAGSTER_GRPC_TIMEOUT_SECONDS", environment["DAGSTER_GRPC_TIMEOUT_SECONDS"])
    assert default_grpc_timeout() == default_schedule_grpc_timeout() == default_sensor_grpc_timeout() == timeout_s
    assert default_repository_grpc_timeout() >= timeout_s


def test_a_start_is_given_up_later_than_the_answer_about_it() -> None:
    monitoring = yaml.safe_load(INSTANCE_SETTINGS.read_text())["run_monitoring"]
    assert monitoring["start_timeout_seconds"] > GRPC_TIMEOUT_S


@pytest.mark.parametrize("polite", [True, False], ids=["asked", "killed"])
def test_the_whole_group_ends(polite: bool) -> None:
    child = "print('ready', flush=True); input()" if polite else STUBBORN
    leader = subprocess.Popen(
        [sys.executable, "-c", FAMILY, child],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert leader.stdout is not None
    assert leader.stdout.readline() == "ready\n"
    family = [psutil.Process(leader.pid), *psutil.Process(leader.pid).children()]
    assert len(family) == 2
    end_group(leader.pid, grace_s=PATIENCE_S if polite else 0.5)
    leader.communicate()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    end_group(leader.pid)


def test_a_member_that_still_has_a_guardian_is_given_time() -> None:
    ignoring = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    guarded = (
        "child = subprocess.Popen([sys.executable, '-c', 'input()', sys.argv[1]], stdin=-1, start_new_session=True);"
    )
    busy = "print('ready', flush=True); sys.stdin.readline(); child.communicate(b'x'); time.sleep(3600)"
    member = subprocess.Popen(
        [sys.executable, "-c", ignoring + guarded + busy, GUARDIAN_MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert member.stdout is not None
    assert member.stdin is not None
    assert member.stdout.readline() == "ready\n"
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(end_group, member.pid, grace_s=0.2, limit_s=PATIENCE_S)
        with pytest.raises(TimeoutError):
            ended.result(1.0)
        assert member.poll() is None
        member.stdin.write("the tenants are blocked\n")
        member.stdin.flush()
        ended.result(PATIENCE_S)
    assert member.wait(PATIENCE_S) == -signal.SIGKILL
    member.communicate()


def test_a_guardian_that_outlives_its_run_worker_is_waited_for() -> None:
    waiting = "sys.executable, '-c', 'import sys; sys.stdin.read()', sys.argv[1]"
    spawn = f"import subprocess, sys; subprocess.Popen([{waiting}], start_new_session=True)"
    member = subprocess.Popen(
        [sys.executable, "-c", f"{spawn}; print('ready', flush=True); import time; time.sleep(3600)", GUARDIAN_MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert member.stdin is not None
    assert member.stdout is not None
    assert member.stdout.readline() == "ready\n"
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(end_group, member.pid, grace_s=0.2, limit_s=PATIENCE_S)
        assert member.wait(PATIENCE_S) == -signal.SIGTERM
        with pytest.raises(TimeoutError):
            ended.result(1.0)
        member.stdin.close()
        ended.result(PATIENCE_S)
    member.stdout.close()


def test_dagster_without_one_of_its_services_is_not_waited_for() -> None:
    service = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'input()', 'dagster._daemon']);"
    parent = "print(child.pid, flush=True); sys.stdin.readline(); child.kill(); child.wait(); sys.stdin.readline()"
    process = subprocess.Popen(
        [sys.executable, "-c", service + parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    daemon = int(process.stdout.readline())
    with ThreadPoolExecutor() as pool:
        served = pool.submit(serve, process)
        with pytest.raises(TimeoutError):
            served.result(1.0)
        psutil.Process(daemon).kill()
        assert served.result(PATIENCE_S) == EXIT_HARNESS_FAILED
    process.communicate("\n\n")
    assert serve(process) == 0
