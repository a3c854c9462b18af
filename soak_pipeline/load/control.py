"""The files in `control/` by which the processes of a load session talk: what they are told, and what they say.

Owns their names, their contents, and writing and reading them. A reader sees an old file or a new one, never a part,
and what a process said outlives it. No file holds a secret: passwords arrive in the environment.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from soak_pipeline.evidence.files import open_log, overwrite
from soak_pipeline.evidence.run_folder import read_json, write_json
from soak_pipeline.model.plan import LoadSession, Plan
from soak_pipeline.model.progress import PROGRESS_FILE
from soak_pipeline.model.records import TelemetrySample
from soak_pipeline.model.series import Source
from soak_pipeline.model.stage_outputs import ProvisionedRun, RevocationEvidence, WorkerReport

START_SLACK_S = 300.0
"""For the processes to start and the last users to log in, beyond the planned ramp (seconds). Generous: a process that
ends is noticed at once, and so is a login that is refused."""

END_SLACK_S = 60.0
"""For users to end after the last answer that they wait for; as much again for the workers to say so, and for the
processes to end (seconds)."""


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One load session, complete.

    Attributes:
        session: what to send and when; for the fan-out, one window per part.
        fanout: true for the fan-out, which one process drives.
        plan, provisioned: of the run.
        run_dir: the run folder.
        gateway_url: base URL of the gateway.
        workers: number of load workers.
        metrics_port: on 127.0.0.1, for Prometheus; None serves no metrics.
        locust_page_port: on 127.0.0.1, for Locust's own page; None serves none.
    """

    session: LoadSession
    fanout: bool
    plan: Plan
    provisioned: ProvisionedRun
    run_dir: str
    gateway_url: str
    workers: int
    metrics_port: int | None = None
    locust_page_port: int | None = None

    @property
    def requests_dir(self) -> Path:
        """Where the records go."""
        return Path(self.run_dir) / "requests"

    @property
    def control(self) -> ControlFiles:
        """The session's files in `control/`."""
        return ControlFiles(Path(self.run_dir), self.session.name)


class ControlFiles:
    """The files of one session in the run's `control/`.

    Args:
        run_dir: the run folder.
        session: name of the load session.
    """

    def __init__(self, run_dir: Path, session: str) -> None:
        self.directory = run_dir / "control"
        self.progress = self.directory / PROGRESS_FILE
        self.spec = self.directory / f"spec-{session}.json"
        self.lease = self.directory / f"lease-{session}"
        self.report = self.directory / f"session-{session}.json"
        self.log = self.directory / f"load-{session}.log"
        self.fanout = self.directory / f"fanout-{session}.json"
        self._session = session

    @staticmethod
    def leases(run_dir: Path) -> list[Path]:
        """The lease of every session that the run has begun."""
        return sorted((run_dir / "control").glob("lease-*"))

    def worker(self, index: int) -> Path:
        """What load worker `index` last said of itself."""
        return self.directory / f"worker-{self._session}-{index}.json"

    def samples(self, index: int) -> Path:
        """One sample answer per kind of unexpected outcome of load worker `index`."""
        return self.directory / f"samples-{self._session}-{index}.json"

    def telemetry(self, index: int) -> Path:
        """Telemetry lines of load worker `index`."""
        return self.directory / f"generator-{self._session}-{index}.jsonl"


def start_limit_s(session: LoadSession) -> float:
    """Longest time from the start of the processes until all users are logged in (seconds)."""
    return sum(session.users.values()) / session.spawn_per_second + START_SLACK_S


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """What a load process last said of itself; `report.lost` is false only once it has ended as planned.

    Attributes:
        report: see `WorkerReport`.
        zero_us: time zero of the session's windows, microseconds since the plan's epoch; None before it is known.
        last_end_us: when its last request ended, microseconds since the plan's epoch.
        failure: why it gave up; empty when it did not.
        pid: of the process.
    """

    report: WorkerReport
    zero_us: int | None
    last_end_us: int | None
    failure: str
    pid: int


class TelemetryLine(msgspec.Struct, frozen=True, kw_only=True):
    """Telemetry of one load process at one time; one line of `generator-{session}-{worker}.jsonl`.

    Attributes:
        time_us: microseconds since the plan's epoch.
        owner: of the figures, such as `load-0`.
        figures: by name of `GENERATOR_SERIES`.
    """

    time_us: int
    owner: str
    figures: dict[str, float]

    def samples(self) -> list[TelemetrySample]:
        """The same as telemetry rows."""
        return [
            TelemetrySample(self.time_us, Source.GENERATOR, self.owner, series, value)
            for series, value in self.figures.items()
        ]


class FanoutResult(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of a fan-out; see `FanoutEvidence`."""

    calls: int
    unanswered: int
    revocations: tuple[RevocationEvidence, ...]


def read_spec(path: Path) -> LoadSpec:
    """The spec of a file.

    Raises:
        EvidenceUnreadable: missing or damaged.
    """
    return read_json(path, LoadSpec)


def write_spec(spec: LoadSpec) -> Path:
    """Stores a spec among the session's control files."""
    write_json(spec.control.spec, spec)
    return spec.control.spec


def replace_file(path: Path, data: bytes) -> None:
    """Replaces a file at once, without a sync: these files are for the living, and a sync would disturb the platform.

    Raises:
        OSError: the disk is full or gone; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        overwrite(temporary, data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def append_line(path: Path, line: TelemetryLine) -> None:
    """Appends one telemetry line.

    Raises:
        OSError: the disk is full or gone.
    """
    with open_log(path) as file:
        file.write(msgspec.json.encode(line) + b"\n")


def read_lines(path: Path, offset: int = 0) -> tuple[list[TelemetryLine], int]:
    """The whole lines behind a byte offset, and the offset behind them; none when there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:
        return [], offset
    whole = data.rfind(b"\n") + 1
    lines = []
    for text in data[:whole].splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            lines.append(msgspec.json.decode(text, type=TelemetryLine))
    return lines, offset + whole


def read_worker_state(path: Path) -> WorkerState | None:
    """The state that a load process left; None when it left none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=WorkerState)
    except (OSError, msgspec.DecodeError):
        return None
