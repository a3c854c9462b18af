"""`soak prove`: plants one fault after another, some at once in lanes of their own, and shows what the gate made of it.

Every run goes against a fresh platform with its own ports, state and reports. Exit code 0 only when every fault was
caught and rightly explained, and the clean runs passed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.evidence.run_folder import write_json, write_text
from soak_pipeline.model.errors import EXIT_FAIL, EXIT_HARNESS_FAILED, EXIT_PASS, BadInput
from soak_pipeline.model.plan import run_id_of
from soak_pipeline.prove.catalogue import CATALOGUE, rows_named
from soak_pipeline.prove.judging import Outcome, RowResult, judge_row
from soak_pipeline.prove.lane import PORTS_PER_LANE, Lane, prove_row
from soak_pipeline.prove.matrix import (
    MATRIX_FILE,
    PAGE_FILE,
    Proof,
    markdown_of,
    page_of,
    problem_lines,
    proof_of,
    summary_of,
    table_of,
)
from soak_pipeline.prove.rows import Row
from soak_pipeline.stages.target_lock import hold_target, state_dir

MOST_LANES = 16
FIRST_PORT = 24_000
LOOK_EVERY_S = 0.5


@dataclass
class _Board:
    """What the lanes are about now, and what is done; shared between their threads and the display."""

    total: int
    now: dict[int, str] = field(default_factory=dict)
    results: dict[str, RowResult] = field(default_factory=dict)
    finished: queue.SimpleQueue[RowResult] = field(default_factory=queue.SimpleQueue)


def prove(
    names: Sequence[str],
    reports: Path,
    environment: Mapping[str, str],
    console: Console,
    *,
    reduced: bool = False,
    lanes: int = 2,
    first_port: int = FIRST_PORT,
    publish: Path | None = None,
) -> int:
    """Runs the proof and shows its matrix.

    Args:
        names: rows to run; all, or the reduced ones, when there is none.
        reports: the proof goes to `prove/{id}/` in it.
        environment: of the command.
        console: where progress and matrix are shown.
        reduced: only the rows that cover every criterion once.
        lanes: runs that go at once.
        first_port: each lane uses a hundred ports of 127.0.0.1 from here on.
        publish: a Markdown file to write the matrix to, with the page beside it.

    Returns:
        0 when every row holds, 1 when one does not, 3 when a run gave no verdict or the proof was stopped.

    Raises:
        BadInput: an unknown row, or a number out of range.
        AlreadyRunning: another proof goes on in this state directory.
    """
    rows = rows_named(names, reduced=reduced)
    _check(lanes, first_port, publish)
    proof_id = run_id_of(datetime.now(UTC))
    hold_target("prove", proof_id, environment)
    folder = reports.absolute() / "prove" / proof_id
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"proof {proof_id}: {len(rows)} runs, {lanes} at once, {folder}", soft_wrap=True, highlight=False)
    began = time.monotonic()
    surroundings = [
        Lane(
            number,
            state_dir(environment) / "prove" / f"lane-{number}",
            first_port + PORTS_PER_LANE * number,
            environment,
        )
        for number in range(min(lanes, len(rows)))
    ]
    results, stopped = _run_all(rows, surroundings, folder, console)
    proof = proof_of(
        proof_id,
        [results[row.name] for row in rows if row.name in results],
        criteria=[criterion.name for criterion in CRITERIA],
        lanes=len(surroundings),
        duration_s=time.monotonic() - began,
    )
    _write(proof, folder, publish if not stopped else None)
    _show(proof, folder, reports, console)
    return EXIT_HARNESS_FAILED if stopped else exit_code_of(proof)


def exit_code_of(proof: Proof) -> int:
    """0 when it holds, 3 when a run gave no verdict, else 1."""
    if proof.holds:
        return EXIT_PASS
    failed = any(row.outcome is Outcome.HARNESS_FAILED for row in proof.rows)
    return EXIT_HARNESS_FAILED if failed or not proof.rows else EXIT_FAIL


def list_rows(console: Console) -> None:
    """Prints the catalogue."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("row", "reduced", "turns", "planted"):
        table.add_column(name)
    for row in CATALOGUE:
        turns = ", ".join(f"{turn.criterion} {turn.verdict} ({turn.cause})" for turn in row.turns) or "nothing"
        table.add_row(row.name, "yes" if row.reduced else "", turns, row.what)
    console.print(table)


def _check(lanes: int, first_port: int, publish: Path | None) -> None:
    problems = []
    if not 1 <= lanes <= MOST_LANES:
        problems.append(f"{lanes} lanes; allowed: 1 to {MOST_LANES}")
    last_port = first_port + PORTS_PER_LANE * lanes
    if first_port < 1024 or last_port > 65_536:
        problems.append(f"ports {first_port} to {last_port - 1}; allowed: 1024 to 65535")
    if publish is not None and publish.suffix != ".md":
        problems.append(f"--publish {publish}: expected a file that ends in .md; the page goes beside it")
    if problems:
        raise BadInput("arguments", problems)


def _run_all(
    rows: Sequence[Row], lanes: Sequence[Lane], folder: Path, console: Console
) -> tuple[dict[str, RowResult], bool]:
    """Runs every row, the longest first; the results by name, and whether the operator stopped it."""
    waiting: queue.SimpleQueue[Row] = queue.SimpleQueue()
    for row in sorted(rows, key=lambda row: -row.expected_s):
        waiting.put(row)
    cancelled = threading.Event()
    board = _Board(total=len(rows))
    threads = [
        threading.Thread(target=_work, args=(lane, waiting, folder, cancelled, board), name=f"lane {lane.number}")
        for lane in lanes
    ]
    for thread in threads:
        thread.start()
    try:
        _watch(threads, board, console)
    except KeyboardInterrupt:
        console.print("stopping: the runs end and their platforms with them")
    finally:
        if any(thread.is_alive() for thread in threads):
            cancelled.set()
        for thread in threads:
            thread.join()
    return board.results, cancelled.is_set()


def _work(lane: Lane, waiting: queue.SimpleQueue[Row], folder: Path, cancelled: threading.Event, board: _Board) -> None:
    """The life of a lane: row after row until none waits."""
    while not cancelled.is_set():
        try:
            row = waiting.get_nowait()
        except queue.Empty:
            break

        def tell(words: str, row: Row = row) -> None:
            board.now[lane.number] = f"{row.name} {words}".strip()

        tell("starting")
        try:
            result = prove_row(row, lane, folder, cancelled, tell)
        except Exception as error:
            result = judge_row(row, None, problem=f"{type(error).__name__}: {error}")
        if result is not None:
            board.results[row.name] = result
            board.finished.put(result)
    board.now.pop(lane.number, None)


def _watch(threads: Sequence[threading.Thread], board: _Board, console: Console) -> None:
    """Shows the board until the lanes have ended."""
    if not console.is_terminal:
        while any(thread.is_alive() for thread in threads):
            _print_finished(board, console)
            time.sleep(LOOK_EVERY_S)
        _print_finished(board, console)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while any(thread.is_alive() for thread in threads):
            _print_finished(board, live.console)
            live.update(_panel(board))
            time.sleep(LOOK_EVERY_S)
        _print_finished(board, live.console)


def _print_finished(board: _Board, console: Console) -> None:
    while not board.finished.empty():
        result = board.finished.get()
        style = "green" if result.outcome.holds else "bold red"
        line = Text(f"{len(board.results)}/{board.total} {result.name}: ")
        line.append(result.outcome.value, style=style)
        line.append(f", {result.duration_s:.0f} s")
        console.print(line, soft_wrap=True)


def _panel(board: _Board) -> Group:
    heading = Text(f"proving   {len(board.results)} of {board.total} runs done", style="bold")
    return Group(heading, *(Text(f"  lane {number}: {words}") for number, words in sorted(board.now.items())))


def _write(proof: Proof, folder: Path, publish: Path | None) -> None:
    write_json(folder / MATRIX_FILE, proof)
    page = page_of(proof)
    write_text(folder / PAGE_FILE, page)
    if publish is not None:
        write_text(publish, markdown_of(proof))
        write_text(publish.with_suffix(".html"), page)


def _show(proof: Proof, folder: Path, reports: Path, console: Console) -> None:
    console.print(table_of(proof, width=console.width))
    for line in problem_lines(proof):
        console.print(Text(line, style="red"), soft_wrap=True)
    shown = reports / folder.relative_to(reports.absolute()) / PAGE_FILE
    word = "PROVED" if proof.holds else "NOT PROVED"
    console.print(f"{word}: {summary_of(proof)}", soft_wrap=True, highlight=False)
    console.print(f"matrix: {shown}", soft_wrap=True, highlight=False)
