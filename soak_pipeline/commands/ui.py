"""`soak ui`: the embedded stack and the Dagster UI, both on the loopback address, both stopped together.

Dagster's processes share one process group. However Dagster ends, and when `soak ui` itself is killed, that group is
ended before the stack is: run workers get the time to stop their load and to block their tenants.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.commands.embedded_stack import embedded_stack, remove_leftover_stack
from soak_pipeline.config.policy_file import POLICY_VARIABLE, find_policy, named_policy, read_policy
from soak_pipeline.model.errors import EXIT_HARNESS_FAILED
from soak_pipeline.stages.dagster_home import prepare_dagster_home
from soak_pipeline.stages.guardian import MODULE as GUARDIAN_MODULE
from soak_pipeline.stages.guardian import start_guardian
from soak_pipeline.stages.target_lock import dagster_home

LOOK_EVERY_S = 0.5
SERVICES = {"dagster._daemon", "dagster_webserver"}
"""Modules of the processes without which `dagster dev` gives up."""

IGNORED_WARNING = "ignore:Function `dev_command` is superseded:FutureWarning"
"""That another command, of another package, does the same: nothing that an operator could act on."""

GRPC_TIMEOUT_VARIABLE = "DAGSTER_GRPC_TIMEOUT_SECONDS"
GRPC_TIMEOUT_S = 300
"""For an answer of Dagster's code server, which starts runs: without CPU to spare that takes minutes (seconds).

Dagster's own limit is 60. The settings of the instance give a start longer than that, so that the answer comes first.
"""

GRACE_S = 5.0
GROUP_END_LIMIT_S = 300.0
"""For Dagster's processes to end when asked, and for run workers, which block their tenants meanwhile (seconds)."""


def serve_ui(port: int, reports: Path, environment: Mapping[str, str]) -> int:
    """Serves the UI until it is interrupted; returns its exit code.

    Raises:
        BadInput: every problem of the policy.
    """
    # Dagster works in another folder, where the search would find another file.
    policy = find_policy("", environment)
    read_policy(policy)
    environment = {**environment, POLICY_VARIABLE: named_policy(policy)}
    home = dagster_home(environment)
    prepare_dagster_home(home)
    with embedded_stack(environment) as stack:
        command = [sys.executable, "-W", IGNORED_WARNING, "-m", "dagster", "dev"]
        command += ["-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=dagster_environment(stack, home, reports),
            start_new_session=True,
        )
        guardian = start_guardian(None, stack, (sys.executable, "-m", __name__, str(process.pid)))
        print(f"Dagster UI: http://127.0.0.1:{port}   (Ctrl-C stops it and the stack)", flush=True)
        try:
            code = serve(process)
        except KeyboardInterrupt:
            code = 0
        finally:
            end_group(process.pid)
            process.wait()
            guardian.dismiss()
    # The last word, after what Dagster printed of a run that was broken off.
    print("soak ui: Dagster and the stack have ended; no load is sent any more", flush=True)
    return code


def dagster_environment(environment: Mapping[str, str], home: Path, reports: Path) -> dict[str, str]:
    """What Dagster's processes are started with.

    Args:
        environment: of the stack; what it says about Dagster's patience stands.
        home: Dagster's home.
        reports: the reports folder; made absolute, since Dagster works in another one.
    """
    return {
        **environment,
        GRPC_TIMEOUT_VARIABLE: environment.get(GRPC_TIMEOUT_VARIABLE) or str(GRPC_TIMEOUT_S),
        "DAGSTER_HOME": str(home),
        "SOAK_REPORTS_DIR": str(reports.absolute()),
    }


def serve(process: subprocess.Popen[bytes]) -> int:
    """Waits until Dagster ends or loses a service; the exit code.

    `dagster dev` ends by itself without its daemon or web server, but too late for a load that has to stop.
    """
    services: set[psutil.Process] = set()
    while (code := process.poll()) is None:
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children()
            services |= {child for child in children if SERVICES & set(child.cmdline())}
        ended = [service for service in services if not service.is_running() or _is_zombie(service)]
        if ended:
            print(f"soak ui: a process of Dagster (pid {ended[0].pid}) has ended; everything is stopped", flush=True)
            return EXIT_HARNESS_FAILED
        time.sleep(LOOK_EVERY_S)
    return code


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def end_group(group: int, *, grace_s: float = GRACE_S, limit_s: float = GROUP_END_LIMIT_S) -> None:
    """Ends a process group: asks every member first, and kills those that have not ended in time.

    A run worker has the longer limit, until it has blocked its tenants, and so has its guardian where the run worker
    could not. Dagster's code servers would take a minute, for the sake of calls that nobody waits for any more.

    Args:
        group: its number; one that has ended already is fine.
        grace_s: for every member to end (seconds).
        limit_s: for run workers and guardians (seconds).
    """
    begun = time.monotonic()
    # Before anybody is asked to end: a guardian is found by its run worker.
    guardians = {guardian for pid in _members(group) for guardian in _guardians_of(pid)}
    _signal_group(group, signal.SIGTERM)
    while True:
        members = list(_members(group))
        waited_s = time.monotonic() - begun
        is_guarded = any(guardian.is_running() and not _is_zombie(guardian) for guardian in guardians)
        if not members and (not is_guarded or waited_s > limit_s):
            return
        if waited_s > limit_s or (waited_s > grace_s and not is_guarded):
            _signal_group(group, signal.SIGKILL)
        time.sleep(0.1)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if any(_members(group)):
            os.killpg(group, number)


def _guardians_of(pid: int) -> list[psutil.Process]:
    """The guardian of a run worker whose tenants are not blocked; it outlives its run worker where it has to act."""
    try:
        return [child for child in psutil.Process(pid).children() if GUARDIAN_MODULE in child.cmdline()]
    except psutil.NoSuchProcess:
        return []


def _members(group: int) -> Iterator[int]:
    """Processes of a group that have not ended; one that nobody reaps has."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue


if __name__ == "__main__":
    end_group(int(sys.argv[1]))
    remove_leftover_stack(os.environ)
