"""How a run shows itself in a terminal: a live panel, or plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.progress import PROGRESS_FILE, Progress
from soak_pipeline.model.tenants import TENANT_SHARES
from soak_pipeline.report.table import print_verdict
from soak_pipeline.report.verdict_document import VerdictDocument

PLAIN_INTERVAL_S = 15.0

Show = Callable[[list[str], Progress | None], None]


def progress_of(folder: RunFolder) -> Progress | None:
    """The live figures of a run's present load session; None between sessions."""
    progress = read_progress(folder.control_dir / PROGRESS_FILE)
    return None if progress is None or progress.phase == "ended" else progress


@contextmanager
def display(console: Console, title: str) -> Iterator[Show]:
    """A function that shows new log lines and the present progress, for as long as the run goes."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            started = time.monotonic()

            def show_live(lines: list[str], progress: Progress | None) -> None:
                for line in lines:
                    live.console.print(Text(line))
                live.update(_panel(title, time.monotonic() - started, progress))

            yield show_live
    else:
        last_s = -PLAIN_INTERVAL_S

        def show_plain(lines: list[str], progress: Progress | None) -> None:
            nonlocal last_s
            for line in lines:
                print(line, flush=True)
            if progress is not None and time.monotonic() - last_s >= PLAIN_INTERVAL_S:
                last_s = time.monotonic()
                print(progress.line(), flush=True)

        yield show_plain


def show_verdict(document: VerdictDocument, path: Path) -> int:
    """Prints how a run ended, as the last lines of a command.

    Args:
        document: its verdict.
        path: of that verdict's file, as the operator should read it.

    Returns:
        The verdict's exit code.
    """
    print_verdict(document, sys.stdout)
    print(f"verdict: {document.verdict} {path}", flush=True)
    return document.verdict.exit_code


def _panel(title: str, elapsed_s: float, progress: Progress | None) -> Group:
    heading = Text(f"{title}   {_clock(elapsed_s)} elapsed", style="bold")
    if progress is None:
        return Group(heading)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("phase", "users", "requests/s", "unexpected", "left", *(f"p95 {name}" for name in TENANT_SHARES)):
        table.add_column(name, justify="right", no_wrap=True)
    latencies = (
        f"{progress.latency_ms_p95[name]:.0f} ms" if name in progress.latency_ms_p95 else "-" for name in TENANT_SHARES
    )
    wrong = progress.unexpected
    table.add_row(
        f"{progress.session}/{progress.phase}",
        str(progress.users),
        f"{progress.requests_per_second:.0f}",
        Text(str(wrong), style="bold red" if wrong else ""),
        _clock(progress.seconds_left),
        *latencies,
    )
    return Group(heading, table)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}"
