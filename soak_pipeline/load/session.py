"""Load sessions for the stages: start one, follow it, and be sure that it has ended.

Owns the caller's side of the supervision: the lease, the process group, the report. Imports neither Locust nor
gevent, and never raises for what the load measured. When the caller is interrupted or fails, the load is stopped
before the exception goes on, and the session's report is in `control/` all the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from soak_pipeline.evidence.files import open_log
from soak_pipeline.evidence.own_process import module_command, module_environment
from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.evidence.run_folder import read_json
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.fanout_result import FanoutResult, evidence_of
from soak_pipeline.load.lease import LeaseFile, LeaseHolder
from soak_pipeline.load.ports import check_ports
from soak_pipeline.load.session_report import conclude, set_aside
from soak_pipeline.load.spec import LoadSpec, write_spec
from soak_pipeline.model.errors import BadInput, EvidenceUnreadable
from soak_pipeline.model.plan import FANOUT_PARTS, FANOUT_SESSION, LoadSession, Plan, TenantLoad, Window
from soak_pipeline.model.progress import Progress
from soak_pipeline.model.stage_outputs import FanoutEvidence, ProvisionedRun, SessionReport, StageStatus
from soak_pipeline.model.traffic import Kind, Phase

if TYPE_CHECKING:
    from subprocess import Popen

LOOK_EVERY_S = 0.25
TERM_GRACE_S = 2.0
CONCLUDE_LIMIT_S = 120.0
"""For the supervisor to turn the last records into Parquet after the load has ended (seconds)."""

FANOUT_LIMIT_S = 120.0

logger = logging.getLogger(__name__)


def run_session(
    session: LoadSession,
    *,
    plan: Plan,
    provisioned: ProvisionedRun,
    run_dir: Path,
    gateway_url: str,
    environment: Mapping[str, str],
    still_wanted: Callable[[], bool],
    on_progress: Callable[[Progress], None] | None = None,
) -> SessionReport:
    """Runs one load session and returns when none of its processes is left.

    Args:
        session: what to send.
        plan, provisioned: of the run.
        run_dir: the run folder; records go to `requests/`, telemetry to `telemetry/`, the rest to `control/`.
        gateway_url: base URL of the gateway.
        environment: for the load processes, on top of this process's own; holds the operator's password under the
            name that the target gives.
        still_wanted: asked about once a second from a thread; false stops the load at once, silence stops it within
            the lease's 5 s.
        on_progress: gets the live figures about once a second; what it raises stops the load and is raised again.

    Returns:
        The report: complete, cut short, or failed with the reason. It is also in `control/session-{name}.json`.

    Raises:
        BadInput: the operator's password is missing, or the gateway URL or a port is none; nothing was
            sent.
    """
    spec = LoadSpec(
        session=session,
        fanout=False,
        plan=plan,
        provisioned=provisioned,
        run_dir=str(run_dir.absolute()),
        gateway_url=gateway_url,
        workers=plan.profile.load_workers,
    )
    return _supervised(spec, environment, still_wanted, on_progress)


def run_fanout(
    *,
    plan: Plan,
    provisioned: ProvisionedRun,
    run_dir: Path,
    gateway_url: str,
    environment: Mapping[str, str],
    still_wanted: Callable[[], bool],
    on_progress: Callable[[Progress], None] | None = None,
) -> FanoutEvidence:
    """Runs the agent fan-out under the same supervision; arguments and errors as `run_session`."""
    fanout = plan.profile.fanout
    load = TenantLoad(active_users=fanout.agents, pace_s=1.0, mix={Kind.ALLOWED: 1.0})
    # Windows number the three parts; their length is only a limit, since each part ends with its last call.
    windows = tuple(
        Window(
            index=part,
            phase=Phase.FANOUT,
            start_s=part * FANOUT_LIMIT_S / FANOUT_PARTS,
            duration_s=FANOUT_LIMIT_S / FANOUT_PARTS,
            settle_s=0.0,
            loads={fanout.tenant: load},
        )
        for part in range(FANOUT_PARTS)
    )
    session = LoadSession(
        name=FANOUT_SESSION,
        users={fanout.tenant: fanout.agents},
        spawn_per_second=plan.profile.spawn_per_second,
        windows=windows,
    )
    spec = LoadSpec(
        session=session,
        fanout=True,
        plan=plan,
        provisioned=provisioned,
        run_dir=str(run_dir.absolute()),
        gateway_url=gateway_url,
        workers=1,
    )
    report = _supervised(spec, environment, still_wanted, on_progress)
    try:
        result = read_json(spec.control.fanout, FanoutResult)
    except EvidenceUnreadable:
        result = None
    return evidence_of(spec, report, result)


def _supervised(
    spec: LoadSpec,
    environment: Mapping[str, str],
    still_wanted: Callable[[], bool],
    on_progress: Callable[[Progress], None] | None,
) -> SessionReport:
    _check(spec, environment)
    for folder in (spec.control.directory, spec.requests_dir):
        folder.mkdir(parents=True, exist_ok=True)
    set_aside(spec)
    spec_path = write_spec(spec)
    process: Popen[bytes] | None = None
    with LeaseHolder(LeaseFile(spec.control.lease), still_wanted) as lease:
        try:
            process = _start(spec, spec_path, environment)
            _follow(process, spec, on_progress)
        finally:
            # Also when the caller is interrupted: no return and no exception before the load has ended.
            lease.release()
            if process is not None:
                _stop(process)
            report = _report_of(spec, process)
    return report


def _check(spec: LoadSpec, environment: Mapping[str, str]) -> None:
    authority_of(spec.gateway_url)
    check_ports({**os.environ, **environment})
    name = spec.plan.target.admin_password_env
    if not environment.get(name, os.environ.get(name)):
        raise BadInput("load", [f"environment variable {name} is empty; it holds the operator's password"])


def _start(spec: LoadSpec, spec_path: Path, environment: Mapping[str, str]) -> Popen[bytes]:
    with open_log(spec.control.log) as log:
        return subprocess.Popen(
            module_command("soak_pipeline.load.supervision", str(spec_path)),
            env=module_environment(_without_needless_secrets(spec, {**os.environ, **environment})),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A session and process group of its own: a terminal's Ctrl-C reaches us, and we stop the whole group.
            start_new_session=True,
        )


def _without_needless_secrets(spec: LoadSpec, environment: Mapping[str, str]) -> dict[str, str]:
    """What the load processes get: they need the operator's password, and no access to databases, Redis or metrics."""
    target = spec.plan.target
    needless = {*msgspec.structs.astuple(target.databases), target.redis_url_env, target.metrics_secret_env}
    return {name: value for name, value in environment.items() if name not in needless}


def _follow(process: Popen[bytes], spec: LoadSpec, on_progress: Callable[[Progress], None] | None) -> None:
    last: Progress | None = None
    while not _has_ended(process):
        time.sleep(LOOK_EVERY_S)
        if on_progress is None:
            continue
        progress = read_progress(spec.control.progress)
        if progress is not None and progress != last:
            last = progress
            on_progress(progress)


def _has_ended(process: Popen[bytes]) -> bool:
    """Whether the supervisor has ended; it is not reaped, so that its process group cannot become anybody else's."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        # Somebody else in this process has reaped it.
        return True


def _stop(process: Popen[bytes]) -> None:
    """Ends the supervisor's whole process group: it asks first, and kills after `TERM_GRACE_S`.

    A supervisor that is alive gets more time for its report, after its load processes are gone.
    """
    if not _has_ended(process):
        process.terminate()
        limit_s = time.monotonic() + TERM_GRACE_S + CONCLUDE_LIMIT_S
        while not _has_ended(process) and time.monotonic() < limit_s:
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    limit_s = time.monotonic() + TERM_GRACE_S
    while _group_exists(process.pid) and time.monotonic() < limit_s:
        time.sleep(0.02)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _report_of(spec: LoadSpec, process: Popen[bytes] | None) -> SessionReport:
    """The supervisor's report; made here when the supervisor did not live to write it."""
    try:
        return read_json(spec.control.report, SessionReport)
    except EvidenceUnreadable:
        code = None if process is None else process.returncode
        how = "did not start" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        reason = f"the load supervisor {how} before its report; see {spec.control.log.name} in control/"
        return conclude(spec, StageStatus.FAILED, reason, zero_us=None)
