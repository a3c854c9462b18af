"""What `soak ui` does with Dagster's processes when Dagster has ended, or it has to end."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from soak_pipeline.commands.ui import end_group, serve
from soak_pipeline.model.errors import EXIT_HARNESS_FAILED

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
FAMILY = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); child.wait()"


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
    end_group(leader.pid, limit_s=30.0 if polite else 0.5)
    leader.communicate()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    end_group(leader.pid)


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
        assert served.result(30.0) == EXIT_HARNESS_FAILED
    process.communicate("\n\n")
    assert serve(process) == 0
