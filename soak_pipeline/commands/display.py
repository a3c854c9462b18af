"""How a run shows itself in a terminal: a live panel, or plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.progress import PROGRESS_FILE, Progress
from soak_pipeline.report.table import print_verdict
from soak_pipeline.report.verdict_document import VerdictDocument

PLAIN_INTERVAL_S = 15.0
TENANT_COLUMNS = 8
"""Most tenants with a column each in a terminal."""
UNBOUNDED = 10_000
"""Wider than any terminal (characters)."""

Show = Callable[[list[str], Progress | None], None]


def progress_of(folder: RunFolder) -> Progress | None:
    """The live figures of a run's present load session; None between sessions."""
    progress = read_progress(folder.control_dir / PROGRESS_FILE)
    return None if progress is None or progress.phase == "ended" else progress


@contextmanager
def display(console: Console, title: str) -> Iterator[Show]:
    """A function that shows new log lines and the present progress, for as long as the run goes."""
    if console.is_terminal:
        # A tenant that sends nothing for a while keeps its place.
        tenants: dict[str, None] = {}
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            started = time.monotonic()

            def show_live(lines: list[str], progress: Progress | None) -> None:
                for line in lines:
                    live.console.print(Text(line))
                tenants.update(dict.fromkeys(sorted(progress.latency_ms_p95) if progress else ()))
                heading = Text(f"{title}   {_clock(time.monotonic() - started)} elapsed", style="bold")
                live.update(Group(heading, *_figures(console, progress, tuple(tenants))))

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


def _figures(console: Console, progress: Progress | None, tenants: Sequence[str]) -> Iterator[RenderableType]:
    """The present figures: p95 of every tenant where the terminal is wide enough, else of the slowest ones."""
    if progress is None:
        return
    table = _table(progress, tenants)
    # Measured without the terminal's own width, which would cap the answer.
    needed = console.measure(table, options=console.options.update(max_width=UNBOUNDED)).maximum
    if len(tenants) <= TENANT_COLUMNS and needed <= console.width:
        yield table
        return
    yield _table(progress, ())
    yield Text(slowest_words(progress.latency_ms_p95, console.width), no_wrap=True)


def _table(progress: Progress, tenants: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("phase", "users", "requests/s", "unexpected", "left", *(f"p95 {name}" for name in tenants)):
        table.add_column(name, justify="right", no_wrap=True)
    p95 = progress.latency_ms_p95
    wrong = progress.unexpected
    table.add_row(
        f"{progress.session}/{progress.phase}",
        str(progress.users),
        f"{progress.requests_per_second:.0f}",
        Text(str(wrong), style="bold red" if wrong else ""),
        _clock(progress.seconds_left),
        *(f"{p95[name]:.0f} ms" if name in p95 else "-" for name in tenants),
    )
    return table


def slowest_words(latency_ms_p95: Mapping[str, float], width: int) -> str:
    """p95 of as many tenants as fit, the slowest first, and how many more there are.

    Args:
        latency_ms_p95: per tenant.
        width: of the terminal, in characters.
    """
    parts = [f"{name} {value:.0f} ms" for name, value in sorted(latency_ms_p95.items(), key=lambda item: -item[1])]
    for shown in range(len(parts), 0, -1):
        left = len(parts) - shown
        words = f"p95: {', '.join(parts[:shown])}{f' and {left} more' if left else ''}"
        if len(words) <= width or shown == 1:
            return words
    return "p95: none yet"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}"
