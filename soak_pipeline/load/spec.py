"""What a load process is told: the session, the run and the addresses; a file, so that nothing is on a command line.

Owns the document and the names of the files in `control/`. Holds no secret: passwords arrive in the environment.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from soak_pipeline.evidence.run_folder import read_json, write_json
from soak_pipeline.model.plan import LoadSession, Plan
from soak_pipeline.model.progress import PROGRESS_FILE
from soak_pipeline.model.stage_outputs import ProvisionedRun


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One load session, complete.

    Attributes:
        session: what to send and when; for the fan-out, one window per part.
        fanout: true for the fan-out, which one process drives.
        plan, provisioned: of the run.
        run_dir: the run folder.
        gateway_url: base URL of the gateway.
        workers: number of load workers.
    """

    session: LoadSession
    fanout: bool
    plan: Plan
    provisioned: ProvisionedRun
    run_dir: str
    gateway_url: str
    workers: int

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


START_SLACK_S = 300.0
"""For the processes to start and the last users to log in, beyond the planned ramp (seconds). Generous: a process that
ends is noticed at once, and so is a login that is refused."""

END_SLACK_S = 60.0
"""For users to end after the last answer that they wait for; as much again for the workers to say so, and for the
processes to end (seconds)."""


def start_limit_s(session: LoadSession) -> float:
    """Longest time from the start of the processes until all users are logged in (seconds)."""
    return sum(session.users.values()) / session.spawn_per_second + START_SLACK_S
