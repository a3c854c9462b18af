"""The live display in a terminal, and plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from soak_pipeline.commands.display import display
from soak_pipeline.model.progress import Progress

PROGRESS = Progress(
    session="soak",
    phase="soak",
    window=1,
    windows=2,
    users=100,
    requests_per_second=99.6,
    latency_ms_p95={"A": 41.2, "B": 43.7},
    outcomes={"ok": 100, "timeout": 2},
    seconds_left=61.0,
)


def test_without_a_terminal_lines_are_plain_and_few(capsys: pytest.CaptureFixture[str]) -> None:
    with display(Console(file=io.StringIO()), "soak smoke") as show:
        show(["provisioned 5 tenants"], None)
        for _ in range(50):
            show([], PROGRESS)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["provisioned 5 tenants", PROGRESS.line()]


def test_a_terminal_shows_phase_users_rate_p95_errors_and_time_left() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with display(console, "soak smoke") as show:
        show(["provisioned 5 tenants"], None)
        show([], PROGRESS)
    shown = screen.getvalue()
    for part in ("soak smoke", "provisioned 5 tenants", "soak/soak", "100", "41 ms", "44 ms", "1:01"):
        assert part in shown
    assert " 2 " in shown


def test_markup_in_a_log_line_is_shown_as_it_is() -> None:
    screen = io.StringIO()
    with display(Console(file=screen, force_terminal=True, width=120, color_system=None), "soak") as show:
        show(["[red]not a colour[/red]"], None)
    assert "[red]not a colour[/red]" in screen.getvalue()
