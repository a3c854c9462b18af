from __future__ import annotations

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
        outcomes={"timeout": 3, "server_error": 1, "ok": 12030},
        seconds_left=61.4,
    )
    assert progress.unexpected == 4
    assert progress.line() == (
        "fairness-1 burst (window 3 of 17): 1,000 users, 513 requests/s, p95 ms [A 118 B 41], 4 unexpected, 61 s left"
    )


def test_a_session_that_has_only_begun() -> None:
    assert Progress(session="soak", phase="starting").line() == (
        "soak starting: 0 users, 0 requests/s, p95 ms [none yet], 0 unexpected, 0 s left"
    )
