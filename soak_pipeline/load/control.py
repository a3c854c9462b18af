"""The small files that load processes leave in `control/`: their own state, so that it outlives them.

Owns reading and writing them. A reader sees an old file or a new one, never a part.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from soak_pipeline.evidence.files import open_log, overwrite
from soak_pipeline.load.spec import LoadSpec
from soak_pipeline.model.records import TelemetrySample
from soak_pipeline.model.series import Source
from soak_pipeline.model.stage_outputs import WorkerReport


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


def unheard_worker(spec: LoadSpec, index: int) -> WorkerReport:
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
