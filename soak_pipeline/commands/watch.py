"""`soak watch`: shows a run that goes on elsewhere, from its folder alone, until its verdict is there.

Works for a run that a terminal, the Dagster UI, a schedule or a sensor started. Reads only; it may be ended and begun
again at any time without the run noticing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from soak_pipeline.commands.display import display, progress_of, show_verdict
from soak_pipeline.evidence.run_folder import OUTPUTS_FOLDER, RunFolder, read_json_as_stored, run_folders
from soak_pipeline.model.errors import BadInput, EvidenceUnreadable
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.report.verdict_document import VERDICT_FILE, VerdictDocument, stored_verdict
from soak_pipeline.stages.target_lock import is_held_by

POLL_S = 0.5
SILENCE_LIMIT_S = 20.0
"""No process holds the target for the run, and nothing new was written for so long: it is over (seconds)."""


def watch_run(
    path: Path | None,
    reports: Path,
    environment: Mapping[str, str],
    console: Console,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Follows a run to its verdict.

    Args:
        path: its run folder; None for the newest run of `reports`.
        reports: folder with the results.
        environment: names the state directory with the locks.
        console: where the progress is shown.
        sleep: waits between two looks (seconds).

    Returns:
        The exit code of the verdict; 2 when the run ended without one.

    Raises:
        BadInput: there is no such run.
    """
    folder = _newest(reports) if path is None else RunFolder.at(path)
    if not folder.path.is_dir():
        raise BadInput("run", [f"{folder.path} is no run folder; `soak history` lists the stored runs"])
    with display(console, f"watching {folder.run_id}") as show:
        news = _news(folder)
        while True:
            # Asked before the verdict is looked for: one written in between is not missed.
            over = not _is_alive(folder, environment)
            document = _verdict(folder)
            show(next(news), None if over or document else progress_of(folder))
            if document is not None or over:
                break
            sleep(POLL_S)
    if document is None:
        print(f"verdict: {Verdict.INCONCLUSIVE} the run ended without one; evidence so far in {folder.path}")
        return Verdict.INCONCLUSIVE.exit_code
    return show_verdict(document, folder.path / VERDICT_FILE)


def _newest(reports: Path) -> RunFolder:
    folders = list(run_folders(reports))
    if not folders:
        raise BadInput("reports", [f"{reports.absolute()} holds no run; start one with `soak run`"])
    return folders[-1]


def _news(folder: RunFolder) -> Iterator[list[str]]:
    """The stages that ended since the last call, in words; a stage that ran again is told again."""
    told: set[str] = set()
    while True:
        outputs = sorted((folder.path / OUTPUTS_FOLDER).glob("*.v*.json"), key=lambda output: output.stat().st_mtime_ns)
        fresh = [output.stem for output in outputs if output.stem not in told]
        told.update(fresh)
        yield [f"{name.rsplit('.v', 1)[0]} is done" for name in fresh]


def _verdict(folder: RunFolder) -> VerdictDocument | None:
    try:
        return read_json_as_stored(folder.path / VERDICT_FILE, stored_verdict)
    except EvidenceUnreadable:
        return None


def _is_alive(folder: RunFolder, environment: Mapping[str, str]) -> bool:
    """Whether a process of this machine holds the target for the run, or something was written just now."""
    try:
        target = folder.read_plan().target.name
    except EvidenceUnreadable:
        target = ""
    if target and is_held_by(target, folder.run_id, environment):
        return True
    written = max((path.stat().st_mtime for path in _written(folder)), default=0.0)
    return time.time() - written < SILENCE_LIMIT_S


def _written(folder: RunFolder) -> Iterator[Path]:
    yield folder.path
    for name in (OUTPUTS_FOLDER, "control", "telemetry"):
        yield from (path for path in (folder.path / name).glob("*") if path.exists())
