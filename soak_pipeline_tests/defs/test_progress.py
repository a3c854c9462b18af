"""Progress in the UI: readable, and at most once a minute."""

from __future__ import annotations

from soak_pipeline.defs.progress import PROGRESS_MARK, ProgressLog
from soak_pipeline.model.progress import Progress


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
    assert all(line.startswith(PROGRESS_MARK) for line in lines)
