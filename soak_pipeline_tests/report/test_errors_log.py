from __future__ import annotations

import pytest

from soak_pipeline.model.documents import ErrorKind
from soak_pipeline.report.errors_log import errors_log
from soak_pipeline_tests.report.examples import HOSTILE, RUN_ID

KIND = ErrorKind(
    outcome="server_error",
    operation="execute",
    status=503,
    count=3,
    tenants={"A": 1, "E": 2},
    first="2026-11-23T07:31:00.000Z",
    last="2026-11-23T07:32:00.000Z",
    sample="tenant E request_id=1f2e latency_ms=12.0",
)


def test_one_line_per_kind_with_first_last_count_and_sample() -> None:
    assert errors_log(RUN_ID, [KIND], 1_000).splitlines() == [
        f"# run {RUN_ID}: 3 user-visible errors of 1 kinds in 1000 requests",
        "# times are UTC; status 0 means that no answer arrived; sample is the first of its kind",
        "first=2026-11-23T07:31:00.000Z last=2026-11-23T07:32:00.000Z count=3 outcome=server_error operation=execute "
        "status=503 tenants=A:1,E:2 sample=[tenant E request_id=1f2e latency_ms=12.0]",
    ]


def test_a_run_without_errors_says_so() -> None:
    assert "0 user-visible errors of 0 kinds in 1000 requests" in errors_log(RUN_ID, [], 1_000)


@pytest.mark.parametrize(("kinds", "requests"), [(None, 5), ([], None), ([], 0)])
def test_no_records_are_unknown_and_not_zero_errors(kinds: list[ErrorKind] | None, requests: int | None) -> None:
    assert "errors are unknown" in errors_log(RUN_ID, kinds, requests)


def test_hostile_text_stays_on_its_line() -> None:
    hostile = ErrorKind(
        outcome="malformed", operation=HOSTILE, status=200, count=1, tenants={HOSTILE: 1}, first="", last="",
        sample=HOSTILE,
    )  # fmt: skip
    text = errors_log(RUN_ID, [hostile], 1)
    assert len(text.splitlines()) == 3
    assert "\x1b" not in text
