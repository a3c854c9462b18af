"""`soak run`: checks the request, starts the pipeline as a process of its own, follows it, prints the verdict.

The pipeline runs in its own process group under a lifeline: when this process is gone, the run is no longer wanted and
its load stops. When the pipeline is gone, this process stops what it left; when both are, a guardian does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from soak_pipeline.commands.display import display, progress_of, show_verdict
from soak_pipeline.commands.embedded_stack import command_to_remove_own_stack, embedded_stack
from soak_pipeline.config.policy_file import POLICY_VARIABLE
from soak_pipeline.evidence.files import open_log
from soak_pipeline.evidence.run_folder import RunFolder, read_json
from soak_pipeline.model.errors import EvidenceUnreadable, HarnessFailed
from soak_pipeline.model.plan import Plan, run_id_of
from soak_pipeline.model.progress import OPERATOR_MARK
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument
from soak_pipeline.stages.emergency import stop_run, was_torn_down
from soak_pipeline.stages.guardian import start_guardian
from soak_pipeline.stages.provision import plan_of
from soak_pipeline.stages.target_lock import dagster_home, hold_target
from soak_pipeline.target.config import refuse_unless_load_allowed, resolve
from soak_pipeline.target.preflight import require_reachable

STOP_TIMEOUT_S = 300.0
POLL_S = 0.5
LOG_FILE = "run.log"


def run_soak(request: SoakRequest, reports: Path, environment: Mapping[str, str], console: Console) -> int:
    """Runs one soak to its verdict.

    Returns:
        The exit code: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 the harness failed.

    Raises:
        BadInput, LoadRefused, AlreadyRunning: before anything was sent.
    """
    run_id = run_id_of(datetime.now(UTC))
    plan = plan_of(request, run_id, environment)
    folder = RunFolder(reports.absolute(), run_id)
    hold_target(f"{plan.target.name}-run", run_id, environment)
    # The pipeline's process has a job for each level of this policy.
    environment = {**environment, POLICY_VARIABLE: request.policy_path or environment.get(POLICY_VARIABLE, "")}
    surroundings = embedded_stack(environment) if plan.target.embedded else nullcontext(dict(environment))
    if plan.target.embedded:
        print("starting the embedded stack", flush=True)
    with surroundings as target_environment:
        resolved = resolve(plan.target, target_environment)
        refuse_unless_load_allowed(resolved, production_confirmed_as=request.confirm_production)
        require_reachable(resolved)
        level = f"level {plan.profile.name} of policy {plan.policy}"
        print(f"run {run_id}: {level}, target {plan.target.name}, {folder.path}", flush=True)
        cancelled = _follow(request, plan, folder, target_environment, console)
    return _finish(folder, reports, cancelled=cancelled)


def _follow(
    request: SoakRequest, plan: Plan, folder: RunFolder, environment: Mapping[str, str], console: Console
) -> bool:
    """Starts the pipeline and shows it until it ends; true when the operator cancelled it."""
    folder.create()
    log_path = folder.path / LOG_FILE
    with open_log(log_path) as log, _pipeline(request, plan, folder, environment, log.fileno()) as process:
        cancelled = False
        lines = _log_lines(log_path)
        with display(console, f"soak {plan.profile.name} {folder.run_id}") as show:
            while process.poll() is None:
                try:
                    show(next(lines), progress_of(folder))
                    time.sleep(POLL_S)
                except KeyboardInterrupt:
                    if cancelled:
                        raise
                    cancelled = True
                    console.print("stopping: the load ends and the tenants are blocked; again to give up at once")
                    process.send_signal(signal.SIGTERM)
            show(next(lines), None)
    return cancelled


@contextmanager
def _pipeline(
    request: SoakRequest, plan: Plan, folder: RunFolder, environment: Mapping[str, str], log: int
) -> Iterator[subprocess.Popen[bytes]]:
    """The pipeline's process, its request given on standard input, which stays open as the lifeline.

    What a pipeline that broke off has left is stopped in the end, here or by a guardian.
    """
    own_stack = command_to_remove_own_stack(environment)
    guardian = start_guardian(folder.path, environment, own_stack)
    job = f"{plan.profile.name}_soak"
    command = [sys.executable, "-m", "soak_pipeline.defs.launch", "--run-id", folder.run_id, "--job", job]
    process = subprocess.Popen(
        [*command, "--reports", str(folder.reports)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**environment, "DAGSTER_HOME": str(dagster_home(environment)), "PYTHONUNBUFFERED": "1"},
        # Inherited, so that the guardian waits for the pipeline too.
        pass_fds=(guardian.lifeline,),
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        process.stdin.flush()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        # An interrupt from here on leaves the rest to the guardian, which sees this process end without a word.
        problem = "" if was_torn_down(folder) else stop_run(folder, environment)
        if problem:
            print(f"soak: {problem}", file=sys.stderr, flush=True)
        if not problem or own_stack:
            # A platform of our own is stopped next; another one the guardian goes on trying.
            guardian.dismiss()


def _log_lines(path: Path) -> Iterator[list[str]]:
    """New whole lines of a growing file that are meant for the operator, at each call."""
    rest = ""
    with path.open(errors="replace") as file:
        while True:
            *lines, rest = (rest + file.read()).split("\n")
            yield [line.removeprefix(OPERATOR_MARK) for line in lines if line.startswith(OPERATOR_MARK)]


def _finish(folder: RunFolder, reports: Path, *, cancelled: bool) -> int:
    try:
        document = read_json(folder.path / VERDICT_FILE, VerdictDocument)
    except EvidenceUnreadable as error:
        if cancelled:
            print(f"verdict: {Verdict.INCONCLUSIVE} cancelled by the operator; evidence so far in {folder.path}")
            return Verdict.INCONCLUSIVE.exit_code
        raise HarnessFailed(f"the run ended without a verdict ({error})\n{_tail(folder.path)}") from error
    return show_verdict(document, reports / "soak" / folder.run_id / VERDICT_FILE)


def _tail(path: Path) -> str:
    try:
        return "\n".join((path / LOG_FILE).read_text(errors="replace").splitlines()[-15:])
    except OSError:
        return ""
