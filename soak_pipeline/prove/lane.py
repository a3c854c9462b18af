"""One row, run for real: `soak run` as a process of its own, against a platform of its own, with the faults planted.

Owns the surroundings of the run: ports, state and reports of a lane, the variables that carry faults and settings, and
the end of everything that it started. It reads the verdict and leaves the judging to `judging`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence.run_folder import RunFolder, read_json, run_folders
from soak_pipeline.model.errors import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS, EvidenceUnreadable
from soak_pipeline.model.verdict import CriterionResult
from soak_pipeline.prove.disturbing import Planting
from soak_pipeline.prove.judging import RowResult, judge_row, was_spoiled
from soak_pipeline.prove.platform import run_platform_command
from soak_pipeline.prove.relay import VARIABLE as RELAYED_PAGES
from soak_pipeline.prove.relay import MetricsRelays, write_relayed_target
from soak_pipeline.prove.rows import Disturbance, Row, When
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument

POLICY = Path(__file__).parent / "policy.yaml"
"""The levels that the rows run."""

EMBEDDED_TARGET = PROJECT_ROOT / "infra" / "targets" / "embedded.yaml"
PORTS_PER_LANE = 100
SLACK_S = 420.0
"""A run that takes this much longer than expected is ended (seconds)."""
STOP_TIMEOUT_S = 330.0
LOOK_EVERY_S = 0.3

SETTINGS = {
    # Nominal values are for hours of soak; here the pipelines must be empty within seconds of the load's end.
    "ACP_OUTBOX_GRACE_S": "2",
    "ACP_FLIGHT_BACKFILL_GRACE_S": "5",
    "ACP_FLIGHT_BACKFILL_INTERVAL_S": "2",
    "ACP_SEALER_INTERVAL_S": "2",
}
THRESHOLDS = {
    # A few pairs of windows of three seconds on a busy machine tell a doubling from none, not a rise of a fifth.
    "fairness_latency_p99_ratio_max": 2.0,
    # And their few hundred requests cannot exclude a rise of the error share by half a per cent.
    "fairness_error_share_rise_max": 0.02,
    "telemetry_gap_s_max": 15.0,
    "drain_s_max": 15.0,
}
_OWN_PREFIXES = ("ACP_", "SOAK_", "LOCUST_", "DAGSTER_")


@dataclass(frozen=True)
class Lane:
    """The surroundings of one run at a time.

    Attributes:
        number: from 0.
        state: directory of the platform's and the harness's state.
        first_port: the lane uses the hundred ports from here on, on 127.0.0.1.
        environment: of the command; its own variables of platform and harness are left out.
    """

    number: int
    state: Path
    first_port: int
    environment: Mapping[str, str] = field(repr=False)

    def variables(self, row: Row) -> dict[str, str]:
        """The environment of a row's run."""
        inherited = {name: value for name, value in self.environment.items() if not name.startswith(_OWN_PREFIXES)}
        faults = ";".join(fault.text() for fault in row.faults if fault.when is When.START)
        return {
            **inherited,
            "SOAK_STATE_DIR": str(self.state / "harness"),
            "ACP_STATE_DIR": str(self.state / "platform"),
            "ACP_GATEWAY_PORT": str(self.first_port),
            "ACP_POSTGRES_PORT": str(self.first_port + 10),
            "ACP_REDIS_PORT": str(self.first_port + 20),
            "ACP_METRICS_FIRST_PORT": str(self.first_port + 30),
            "ACP_ADMIN_FIRST_PORT": str(self.first_port + 60),
            **SETTINGS,
            **row.settings,
            **({"ACP_FAULTS": faults} if faults else {}),
        }


def run_command(row: Row, reports: Path, target: Path) -> list[str]:
    """The command line of a row's run."""
    thresholds = THRESHOLDS | dict(row.thresholds)
    changes = [word for name, value in thresholds.items() for word in ("--set", f"{name}={value:g}")]
    size = ["--users", str(row.users)] if row.users else []
    size += ["--run-time", row.run_time] if row.run_time else []
    command = [sys.executable, "-m", "soak_pipeline.cli", "run", "--policy", str(POLICY), "--profile", row.profile]
    command += ["--target", str(target)]
    return [*command, "--reports", str(reports), *size, *changes]


def prove_row(
    row: Row, lane: Lane, folder: Path, cancelled: threading.Event, tell: Callable[[str], None]
) -> RowResult | None:
    """Runs a row and judges it; once more when the run was spoiled. Arguments and result are those of `run_row`."""
    result = run_row(row, lane, folder, cancelled, tell)
    if result is None or not was_spoiled(result):
        return result
    again = run_row(row, lane, folder, cancelled, lambda words: tell(f"again {words}"), attempt=2)
    if again is None:
        return None
    return msgspec.structs.replace(again, attempts=2, duration_s=round(result.duration_s + again.duration_s, 1))


def run_row(
    row: Row,
    lane: Lane,
    folder: Path,
    cancelled: threading.Event,
    tell: Callable[[str], None],
    *,
    attempt: int = 1,
) -> RowResult | None:
    """Runs a row once and judges it.

    Args:
        row: which.
        lane: where.
        folder: of the proof; the run's reports go to `rows/{name}/{attempt}` in it.
        cancelled: when it is set, the run is stopped.
        tell: called with what the run is about now, for a display.
        attempt: from 1.

    Returns:
        The row of the matrix; None when it was cancelled.
    """
    reports = folder / "rows" / row.name / str(attempt)
    reports.mkdir(parents=True, exist_ok=True)
    lane.state.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        variables, target, relays = lane.variables(row), EMBEDDED_TARGET, None
        if row.disturbance is Disturbance.BLOCK_TELEMETRY:
            relays = stack.enter_context(MetricsRelays(lambda: _platform_pages(variables)))
            variables |= {RELAYED_PAGES: relays.pages()}
            target = write_relayed_target(EMBEDDED_TARGET, lane.state / "relayed.yaml")
        stack.callback(_stop_platform, variables)
        log = stack.enter_context((reports / "row.log").open("wb"))
        process = subprocess.Popen(
            run_command(row, reports, target),
            env=variables,
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(_end, process)
        planting = Planting(row, process.pid, reports, variables, relays)
        problem = _follow(process, row, planting, cancelled, tell)
    if cancelled.is_set():
        return None
    run = _run_folder(reports)
    return judge_row(
        row,
        _criteria(run),
        problem=problem or planting.problem() or _exit_problem(process.returncode),
        duration_s=time.monotonic() - began,
        run="" if run is None else str(run.path.relative_to(folder)),
    )


def _follow(
    process: subprocess.Popen[bytes],
    row: Row,
    planting: Planting,
    cancelled: threading.Event,
    tell: Callable[[str], None],
) -> str:
    """Waits for the run's end, planting what is due meanwhile; says what went wrong, or nothing."""
    limit = time.monotonic() + row.expected_s + SLACK_S
    while process.poll() is None:
        tell(planting.look())
        if cancelled.wait(LOOK_EVERY_S):
            return ""
        if time.monotonic() > limit:
            return f"the run did not end within {row.expected_s + SLACK_S:.0f} s; see row.log and run.log"
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stops the run as Ctrl-C would, and kills it when that does not help."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _stop_platform(variables: Mapping[str, str]) -> None:
    """Whatever a run has left of its platform; after a tidy run this finds nothing."""
    run_platform_command(variables, "down")


def _platform_pages(variables: Mapping[str, str]) -> dict[str, str]:
    """The metrics pages of the running platform, by the process they are of; empty when it does not run."""
    answer = run_platform_command(variables, "env", "--json")
    return pages_of(answer.stdout) if answer.returncode == 0 else {}


def pages_of(environment_json: bytes | str) -> dict[str, str]:
    """Metrics pages by owner, from what `acp env --json` prints; the gateway's is beside its own address."""
    found = msgspec.json.decode(environment_json, type=dict[str, str])
    pages = dict(entry.split("=", 1) for entry in found.get("ACP_METRICS_URLS", "").split(",") if "=" in entry)
    return {"gateway": f"{found['ACP_GATEWAY_URL']}/metrics", **pages} if "ACP_GATEWAY_URL" in found else pages


def _run_folder(reports: Path) -> RunFolder | None:
    """The run that a row has made, if any."""
    return next(run_folders(reports), None)


def _criteria(run: RunFolder | None) -> tuple[CriterionResult, ...] | None:
    """The results of a run; None without a readable verdict."""
    if run is None:
        return None
    try:
        return read_json(run.path / VERDICT_FILE, VerdictDocument).criteria
    except EvidenceUnreadable:
        return None


def _exit_problem(code: int | None) -> str:
    """What an exit code says against the run itself; a verdict of any kind is no problem."""
    if code in (EXIT_PASS, EXIT_FAIL, EXIT_INCONCLUSIVE):
        return ""
    return f"soak run ended with exit code {code}; see row.log and run.log"
