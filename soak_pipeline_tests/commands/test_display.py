"""The live display in a terminal, and plain lines elsewhere."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from soak_pipeline.commands.display import display, slowest_words
from soak_pipeline.model.progress import Progress
from soak_pipeline_tests.tenant_tables import FIFTY, names

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


def shown(progress: Progress, width: int) -> list[str]:
    """What stays of the display in a terminal of that width."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    with display(console, "soak smoke") as show:
        show([], progress)
    return [line.rstrip() for line in screen.getvalue().splitlines()]


def test_fifty_tenants_fit_into_a_terminal_of_80_columns() -> None:
    fifty = {name: 40.0 + number for number, name in enumerate(FIFTY)}
    lines = shown(msgspec.structs.replace(PROGRESS, latency_ms_p95=fifty), 80)
    slowest = next(line for line in lines if "p95: " in line)
    assert "p95: customer-50-eu-eu 89 ms, customer-49-eu 88 ms" in slowest
    assert slowest.endswith(" and 48 more")
    assert any("soak/soak" in line and "1:01" in line for line in lines)


def test_a_narrow_terminal_names_the_slowest_where_columns_do_not_fit() -> None:
    narrow = shown(PROGRESS, 59)
    assert any(line.endswith("p95: B 44 ms, A 41 ms") for line in narrow)
    assert not any("p95 A" in line for line in narrow)
    assert any("p95 A" in line for line in shown(PROGRESS, 120))


@given(names=names(), width=st.integers(20, 200), values=st.lists(st.floats(1.0, 9_999.0), min_size=50, max_size=50))
def test_the_slowest_are_named_and_the_others_counted(names: list[str], width: int, values: list[float]) -> None:
    p95 = dict(zip(names, values, strict=False))
    words = slowest_words(p95, width)
    slowest = max(p95.values())
    named = words.removeprefix("p95: ").partition(" and ")[0].split(", ")
    left = len(names) - len(named)
    assert named[0].endswith(f" {slowest:.0f} ms")
    assert words.endswith(f" and {left} more") is (left > 0)
    assert len(words) <= width or len(named) == 1


def test_a_line_names_the_slowest_of_many() -> None:
    fifty = {name: 40.0 + number for number, name in enumerate(FIFTY)}
    line = msgspec.structs.replace(PROGRESS, latency_ms_p95=fifty).line()
    assert "p95 ms [customer-50-eu-eu 89 customer-49-eu 88" in line
    assert " and 44 more], 2 unexpected" in line
