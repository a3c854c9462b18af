"""The report of one load session, from what its processes left behind; also when they were killed.

Owns the last steps of a session: spools become Parquet, states become a `SessionReport`, the report goes to
`control/`. Never starts or ends a process.
"""

from __future__ import annotations

import logging
from pathlib import Path

from soak_pipeline.evidence.request_writer import parquet_rows, salvage
from soak_pipeline.evidence.run_folder import write_json
from soak_pipeline.evidence.seal import unseal
from soak_pipeline.load.control import read_worker_state, unheard_worker
from soak_pipeline.load.spec import LoadSpec
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.stage_outputs import SessionReport, StageStatus

logger = logging.getLogger(__name__)

SUPERSEDED = "superseded"


def conclude(spec: LoadSpec, status: StageStatus, reason: str, zero_us: int | None) -> SessionReport:
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
        unheard_worker(spec, index) if state is None else state.report for index, state in enumerate(states)
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


def session_files(requests_dir: Path, session: str) -> list[Path]:
    """The Parquet files of one session, by name."""
    return sorted(requests_dir.glob(f"{session}-[0-9]*-[0-9]*.parquet"))


def set_aside(spec: LoadSpec) -> None:
    """Moves what an earlier try of the session left out of the readers' sight; nothing is deleted but control files.

    A stage that is run again must not mix its records with those of the first time.
    """
    old = [
        path for path in spec.requests_dir.glob(f"{spec.session.name}-[0-9]*-[0-9]*.*") if not path.name.startswith(".")
    ]
    if old:
        folder = spec.requests_dir / SUPERSEDED
        folder.mkdir(exist_ok=True)
        number = 1 + sum(1 for _ in folder.iterdir())
        target = folder / f"{spec.session.name}-{number:03d}"
        target.mkdir()
        for path in old:
            path.replace(target / path.name)
        unseal(spec.requests_dir.parent, [f"{spec.requests_dir.name}/{path.name}" for path in old])
    control = spec.control
    stale = [control.report, control.fanout, control.progress]
    for index in range(spec.workers):
        stale += [control.worker(index), control.samples(index), control.telemetry(index)]
    for path in stale:
        path.unlink(missing_ok=True)
