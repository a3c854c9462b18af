"""Progress in the UI: readable, and at most once a minute."""

from __future__ import annotations

from soak_pipeline.defs.progress import ProgressLog, progress_line
from soak_pipeline.model.progress import Progress


def test_a_line_says_where_the_run_is() -> None:
    progress = Progress(
        session="fairness-1",
        phase="burst",
        window=2,
        windows=17,
        users=1000,
        requests_per_second=512.6,
        latency_ms_p95={"B": 41.2, "A": 118.4},
        outcomes={"timeout": 3, "ok": 12030},
        seconds_left=61.4,
    )
    assert progress_line(progress) == (
        "session fairness-1, phase burst, window 3 of 17, 1,000 users, 513 requests/s, p95 A 118 B 41 ms,"
        " 12,030 ok, 3 timeout, 61 s left"
    )


def test_a_session_that_has_only_begun() -> None:
    assert progress_line(Progress(session="soak", phase="starting")) == (
        "session soak, phase starting, 0 users, 0 requests/s, 0 s left"
    )


def test_four_minutes_of_progress_are_five_lines() -> None:
    now = 0.0
    lines: list[str] = []
    log = ProgressLog(lines.append, interval_s=60, clock=lambda: now)
    for second in range(241):
        now = float(second)
        log(Progress(session="soak", phase="soak", seconds_left=240.0 - second))
    assert [line.split(", ")[-1] for line in lines] == [
        "240 s left",
        "180 s left",
        "120 s left",
        "60 s left",
        "0 s left",
    ]
