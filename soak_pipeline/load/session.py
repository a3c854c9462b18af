"""Load sessions for the stages: start one, follow it, be sure that it has ended, and report it.

Owns the caller's side of the supervision (the lease, the process group), and the session's report from what its
processes left behind, also when they were killed. Imports neither Locust nor gevent, and never raises for what the load
measured. When the caller is interrupted or fails, the load is stopped before the exception goes on, and the session's
report is in `control/` all the same.
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
from soak_pipeline.evidence.request_writer import parquet_rows, salvage, session_files, set_aside_records
from soak_pipeline.evidence.run_folder import read_json, write_json
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.control import FanoutResult, LoadSpec, read_worker_state, write_spec
from soak_pipeline.load.lease import LeaseFile, LeaseHolder
from soak_pipeline.model.errors import BadInput, EvidenceUnreadable
from soak_pipeline.model.plan import FANOUT_PARTS, FANOUT_SESSION, LoadSession, Plan, TenantLoad, Window
from soak_pipeline.model.progress import Progress
from soak_pipeline.model.stage_outputs import FanoutEvidence, ProvisionedRun, SessionReport, StageStatus, WorkerReport
from soak_pipeline.model.traffic import Kind, Phase

if TYPE_CHECKING:
    from subprocess import Popen

METRICS_PORT = "SOAK_METRICS_PORT"
"""Environment variable with the port of the live figures as Prometheus metrics; none are served without it."""

LOCUST_PAGE_PORT = "SOAK_LOCUST_PAGE_PORT"
"""Environment variable with the port of Locust's own page; none is served without it."""

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
    return _fanout_evidence(spec, report, result)


def _supervised(
    spec: LoadSpec,
    environment: Mapping[str, str],
    still_wanted: Callable[[], bool],
    on_progress: Callable[[Progress], None] | None,
) -> SessionReport:
    spec = _checked(spec, environment)
    for folder in (spec.control.directory, spec.requests_dir):
        folder.mkdir(parents=True, exist_ok=True)
    _set_aside(spec)
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


def _checked(spec: LoadSpec, environment: Mapping[str, str]) -> LoadSpec:
    """The spec with the ports that the operator asked for.

    Raises:
        BadInput: as `run_session`.
    """
    authority_of(spec.gateway_url)
    variables = {**os.environ, **environment}
    ports = {name: _loopback_port(name, variables) for name in (METRICS_PORT, LOCUST_PAGE_PORT)}
    password = spec.plan.target.admin_password_env
    if not variables.get(password):
        raise BadInput("load", [f"environment variable {password} is empty; it holds the operator's password"])
    return msgspec.structs.replace(spec, metrics_port=ports[METRICS_PORT], locust_page_port=ports[LOCUST_PAGE_PORT])


def _loopback_port(variable: str, environment: Mapping[str, str]) -> int | None:
    """The port on 127.0.0.1 that the operator asked for; None for none.

    Raises:
        BadInput: the variable holds no port.
    """
    text = environment.get(variable, "")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise BadInput("port", [f"{variable}={text!r}; expected a port between 1 and 65535, or nothing"])
    return int(text)


def _set_aside(spec: LoadSpec) -> None:
    """Moves what an earlier try of the session left out of the readers' sight; only control files are deleted."""
    set_aside_records(spec.requests_dir, spec.session.name)
    control = spec.control
    stale = [control.report, control.fanout, control.progress]
    for index in range(spec.workers):
        stale += [control.worker(index), control.samples(index), control.telemetry(index)]
    for path in stale:
        path.unlink(missing_ok=True)


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
        return report_session(spec, StageStatus.FAILED, reason, zero_us=None)


def report_session(spec: LoadSpec, status: StageStatus, reason: str, zero_us: int | None) -> SessionReport:
    """Keeps everything that is left of a session and writes its report; no process of the session may be running.

    Args:
        spec: the session.
        status, reason: how it ended, as far as is known; what is found here can only make it worse.
        zero_us: time zero of its windows, microseconds since the plan's epoch; None when the caller does not know it.
    """
    problems = [reason] if reason else []
    try:
        salvage(spec.requests_dir)
    except (EvidenceUnreadable, OSError) as error:
        status = StageStatus.FAILED
        problems.append(f"request records were lost or wait in their spool: {error}")
    states = [read_worker_state(spec.control.worker(index)) for index in range(spec.workers)]
    reports = tuple(
        _unheard_worker(spec, index) if state is None else state.report for index, state in enumerate(states)
    )
    if zero_us is None:
        zero_us = next((state.zero_us for state in states if state and state.zero_us is not None), None)
    problems += [state.failure for state in states if state and state.failure and status is not StageStatus.CUT_SHORT]
    if status is StageStatus.COMPLETE and any(report.lost for report in reports):
        status = StageStatus.FAILED
        problems.append("a load worker did not close its records")
    files = session_files(spec.requests_dir, spec.session.name)
    report = SessionReport(
        name=spec.session.name,
        status=status,
        reason="; ".join(dict.fromkeys(problems)),
        zero_us=zero_us,
        ended_us=max((state.last_end_us for state in states if state and state.last_end_us is not None), default=None),
        workers=reports,
        request_files=tuple(f"requests/{path.name}" for path in files),
        records=sum(parquet_rows(path) for path in files),
    )
    try:
        write_json(spec.control.report, report)
    except OSError as error:
        logger.error("the report of session %s cannot be written: %s", report.name, error.strerror)
    return report


def _unheard_worker(spec: LoadSpec, index: int) -> WorkerReport:
    """The report of a worker that died before it wrote one."""
    nothing = dict.fromkeys((tenant.name for tenant in spec.plan.tenants), 0)
    return WorkerReport(
        worker=index,
        sent=nothing,
        due=nothing,
        loop_lag_ms_p99=None,
        cpu_share_max=None,
        rss_bytes_start=None,
        rss_bytes_end=None,
        lost=True,
    )


def _fanout_evidence(spec: LoadSpec, report: SessionReport, result: FanoutResult | None) -> FanoutEvidence:
    """The evidence of the stage.

    Args:
        spec: the session.
        report: how the session went.
        result: what the process left; None when it left nothing, which cannot be complete.
    """
    fanout = spec.plan.profile.fanout
    status, reason = report.status, report.reason
    if result is None and status is StageStatus.COMPLETE:
        status, reason = StageStatus.FAILED, "the fan-out process left no result"
    return FanoutEvidence(
        status=status,
        reason=reason,
        tenant=fanout.tenant,
        agents=fanout.agents,
        calls=result.calls if result else 0,
        unanswered=result.unanswered if result else 0,
        revocations=result.revocations if result else (),
        session=report,
    )
