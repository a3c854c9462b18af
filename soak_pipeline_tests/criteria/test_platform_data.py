"""Chain, usage, timelines and roots: at the limit, and what keeps them open."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.criteria.documents import chain_document, reconcile_document
from soak_pipeline.model.series import PROCESS_START_SERIES
from soak_pipeline.model.verdict import Verdict, at_most
from soak_pipeline_tests.criteria.judging import evidence_of, finding_of, judged, result_of
from soak_pipeline_tests.evidence_defects import change_chain, change_drain, change_output, change_part
from soak_pipeline_tests.evidence_factory import SyntheticRun

CHAIN = "chain_has_no_violations"
USAGE = "usage_matches_audit"
TIMELINES = "no_timeline_is_stuck"
ROOTS = "roots_are_sealed"


def rows_of(run: SyntheticRun, tenant: str) -> int:
    chains = run.outputs["platform_evidence"].chains  # type: ignore[attr-defined]
    return next(chain.independent.rows for chain in chains if chain.tenant == tenant)


def executed_of(run: SyntheticRun, tenant: str) -> int:
    """Executed calls of a tenant outside the fan-out."""
    requests = run.requests
    executed = requests.where(tenant=tenant, kind="allowed", outcome="ok")
    return int((executed & ~requests.where(phase="fanout")).sum())


@pytest.mark.parametrize(
    "field", ["tampered", "gaps", "forks", "duplicate_requests", "out_of_order", "acknowledged_missing"]
)
def test_one_violation_of_any_kind_fails_the_chain(tmp_path: Path, field: str) -> None:
    result = judged(tmp_path, CHAIN, lambda run: change_chain(run, "B", "independent", **{field: 1}))

    assert result.verdict is Verdict.FAIL
    assert result.findings[0].subject == "tenant B"
    assert (result.observed or 0) >= 1
    assert result.limit == at_most(0, result.unit)
    assert "see chain_verify.json" in result.why
    assert result.evidence == ("chain_verify.json",)


def test_an_empty_list_of_violations_does_not_hide_an_invalid_chain(tmp_path: Path) -> None:
    result = judged(tmp_path, CHAIN, lambda run: change_chain(run, "B", "platform", valid=False))

    assert result.verdict is Verdict.FAIL
    assert "which our own verification does not find" in result.why


@pytest.mark.parametrize(("difference", "verdict"), [(-1, Verdict.FAIL), (0, Verdict.PASS), (1, Verdict.INCONCLUSIVE)])
def test_the_platform_must_have_checked_exactly_our_rows(tmp_path: Path, difference: int, verdict: Verdict) -> None:
    result = judged(
        tmp_path,
        CHAIN,
        lambda run: change_chain(run, "C", "platform", processed_count=rows_of(run, "C") + difference),
    )

    assert result.verdict is verdict


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"acknowledged": 0}, "no acknowledged call was matched"),
        ({"acknowledged": 10}, "only 10 of"),
        ({"rows": 0}, "the chain has no rows"),
    ],
)
def test_a_verification_of_too_little_is_open(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    def defect(run: SyntheticRun) -> None:
        change_chain(run, "D", "independent", **changes)
        if "rows" in changes:
            change_chain(run, "D", "platform", processed_count=0)

    result = judged(tmp_path, CHAIN, defect)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert words in result.why


def test_a_missing_platform_answer_is_open_and_says_why(tmp_path: Path) -> None:
    result = judged(
        tmp_path, CHAIN, lambda run: change_part(run, "chains", "E", platform=None, reason="GET answered 502")
    )

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the platform's own answer is missing: GET answered 502" in result.why


def test_a_violation_fails_even_when_the_other_side_is_missing(tmp_path: Path) -> None:
    def defect(run: SyntheticRun) -> None:
        change_chain(run, "E", "independent", forks=1)
        change_part(run, "chains", "E", platform=None, reason="GET answered 502")

    assert judged(tmp_path, CHAIN, defect).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("waiting", "verdict", "cause"),
    [(5, Verdict.INCONCLUSIVE, "audit_worker_slow"), (4, Verdict.FAIL, "acknowledged_call_lost")],
)
def test_calls_without_a_row_are_late_and_not_lost_while_as_many_events_wait(
    tmp_path: Path, waiting: int, verdict: Verdict, cause: str
) -> None:
    def defect(run: SyntheticRun) -> None:
        change_chain(run, "B", "independent", acknowledged_missing=3)
        change_chain(run, "E", "independent", acknowledged_missing=2)
        change_drain(run, drained=False, left={"acp:audit_stream": waiting, "outbox_pending": 9})

    result = judged(tmp_path, CHAIN, defect)
    assert (result.verdict, result.cause) == (verdict, cause)
    assert finding_of(result, "tenant B").verdict is verdict
    assert finding_of(result, "tenant A").verdict is Verdict.PASS


def test_events_that_wait_excuse_no_other_violation(tmp_path: Path) -> None:
    def defect(run: SyntheticRun) -> None:
        change_chain(run, "B", "independent", acknowledged_missing=3, forks=1)
        change_drain(run, drained=False, left={"acp:audit_stream": 100})

    result = judged(tmp_path, CHAIN, defect)
    assert (result.verdict, result.cause) == (Verdict.FAIL, "chain_forked")


def test_the_lock_is_named_as_the_cause_of_forks(tmp_path: Path) -> None:
    result = judged(tmp_path, CHAIN, "chain_fork")

    assert "two writers held the chain of one tenant at once" in (result.likely_cause or "")
    assert "SET NX" in (result.fix or "")


def test_chain_document_holds_both_sides_and_the_verdict_of_each_tenant(tmp_path: Path) -> None:
    document = chain_document(evidence_of(tmp_path, "row_tampered"))

    by_tenant = {entry.tenant: entry for entry in document.tenants}
    assert document.verdict is Verdict.FAIL
    assert [entry.verdict for entry in document.tenants if entry.tenant != "C"] == [Verdict.PASS] * 4
    tampered = by_tenant["C"]
    assert tampered.verdict is Verdict.FAIL
    assert tampered.independent is not None
    assert tampered.independent.tampered == 1
    assert tampered.platform is not None
    assert not tampered.platform.valid


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("audit_without_usage", "1 audit row without usage"),
        ("usage_without_audit", "1 usage row without an audit row"),
        ("billed_twice", "1 call billed twice"),
        ("outbox_pending", "1 pending row in the outbox"),
        ("outbox_failed", "1 failed row in the outbox"),
    ],
)
def test_one_row_too_many_fails_the_reconciliation(tmp_path: Path, field: str, words: str) -> None:
    result = judged(tmp_path, USAGE, lambda run: change_part(run, "reconciliation", "B", **{field: 1}))

    assert result.verdict is Verdict.FAIL
    assert words in result.why
    assert result.observed == 1
    assert result.limit == at_most(0, result.unit)


@pytest.mark.parametrize(("seconds", "verdict"), [(180.0, Verdict.PASS), (180.01, Verdict.FAIL), (0.0, Verdict.PASS)])
def test_the_drain_may_reach_its_limit(tmp_path: Path, seconds: float, verdict: Verdict) -> None:
    assert judged(tmp_path, USAGE, lambda run: change_drain(run, seconds=seconds)).verdict is verdict


def test_the_limit_of_the_drain_is_the_threshold(tmp_path: Path) -> None:
    assert judged(tmp_path, USAGE, drain_s_max=38.0).verdict is Verdict.PASS
    assert judged(tmp_path, USAGE, drain_s_max=37.9).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "defect",
    [
        lambda run: change_drain(run, drained=None, reason="Redis cannot be reached"),
        lambda run: change_output(run, "platform_evidence", dead_letters={}),
        lambda run: change_part(run, "reconciliation", "A", billable_audit_rows=0),
        lambda run: change_output(run, "platform_evidence", reconciliation=()),
    ],
    ids=["drain unseen", "dead letters unread", "nothing billable", "not compared"],
)
def test_what_was_not_reconciled_is_open(tmp_path: Path, defect: object) -> None:
    assert judged(tmp_path, USAGE, defect).verdict is Verdict.INCONCLUSIVE  # type: ignore[arg-type]


def test_a_stalled_outbox_blames_the_usage_worker_with_the_time(tmp_path: Path) -> None:
    result = judged(tmp_path, USAGE, "outbox_stalled")

    assert "usage worker" in (result.likely_cause or "")
    assert "812 rows of pending_usage_events left 180 s after the load" in (result.likely_cause or "")


def test_gaps_name_the_outbox_and_the_time_to_converge(tmp_path: Path) -> None:
    result = judged(tmp_path, USAGE, "usage_dropped")

    assert "outbox was not drained" in (result.likely_cause or "")
    assert "Materialise platform_evidence again" in (result.fix or "")


def test_reconcile_document_says_when_it_converged(tmp_path: Path) -> None:
    document = reconcile_document(evidence_of(tmp_path / "one"))
    stalled = reconcile_document(evidence_of(tmp_path / "two", "outbox_stalled"))

    assert document.converged_s == 38.0
    assert document.verdict is Verdict.PASS
    assert all(entry.billable_audit_rows == entry.usage_rows for entry in document.tenants)
    assert stalled.converged_s is None
    assert stalled.verdict is Verdict.FAIL


def test_the_backfill_may_close_the_allowed_share(tmp_path: Path) -> None:
    def defect(run: SyntheticRun) -> None:
        change_part(run, "timelines", "E", total=100_000, recovered_backfill=1_000)

    assert judged(tmp_path / "at", TIMELINES, defect, recovered_timelines_share_max=0.01).verdict is Verdict.PASS
    beyond = judged(tmp_path / "beyond", TIMELINES, defect, recovered_timelines_share_max=0.0099)
    assert beyond.verdict is Verdict.FAIL
    assert beyond.observed == 0.01
    assert beyond.cause == "end_event_lost"


def test_a_restart_of_the_gateway_is_named_as_the_cause_of_recovered_timelines(tmp_path: Path) -> None:
    def defect(run: SyntheticRun) -> None:
        change_part(run, "timelines", "E", total=100_000, recovered_backfill=1_000)
        _, starts = run.telemetry["platform", "gateway-1", PROCESS_START_SERIES]
        starts[len(starts) // 2 :] += 100.0

    result = judged(tmp_path, TIMELINES, defect)
    assert result.cause == "gateway_crashed"
    assert "crashed or was killed in the middle of 1,000 calls" in (result.likely_cause or "")


def test_a_gateway_that_was_not_watched_may_have_crashed(tmp_path: Path) -> None:
    def defect(run: SyntheticRun) -> None:
        change_part(run, "timelines", "E", recovered_backfill=1)
        run.telemetry.clear()

    assert judged(tmp_path, TIMELINES, defect).cause == "gateway_crashed"


def _slow_drain(run: SyntheticRun, left: dict[str, int], found: dict[str, int]) -> None:
    """Pipelines that were empty too late (`left` empty) or not at all."""
    change_drain(run, drained=not left, seconds=300.0, left=left, found=found)


@pytest.mark.parametrize(
    ("left", "found", "cause"),
    [
        ({"acp:audit_stream": 900, "outbox_pending": 200}, {}, "audit_worker_slow"),
        ({"outbox_pending": 0}, {"acp:audit_stream": 900, "outbox_pending": 200}, "audit_worker_slow"),
        ({}, {"acp:audit_stream": 0, "outbox_pending": 5_000}, "usage_drain_slow"),
        ({"outbox_pending": 200}, {"acp:audit_stream": 900, "outbox_pending": 5_000}, "usage_worker_slow"),
    ],
)
def test_a_slow_drain_blames_the_queue_that_held_most(
    tmp_path: Path, left: dict[str, int], found: dict[str, int], cause: str
) -> None:
    def defect(run: SyntheticRun) -> None:
        _slow_drain(run, left, found)
        if not any(left.values()):
            change_drain(run, drained=True)

    result = judged(tmp_path, USAGE, defect)

    assert (result.verdict, result.cause) == (Verdict.FAIL, cause)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        ({"outbox_pending": 812}, "usage_worker_stopped"),
        ({"outbox_pending": 813}, "usage_worker_slow"),
        ({}, "usage_worker_slow"),
    ],
)
def test_a_backlog_that_did_not_shrink_is_that_of_a_worker_that_stopped(
    tmp_path: Path, found: dict[str, int], cause: str
) -> None:
    def defect(run: SyntheticRun) -> None:
        _slow_drain(run, {"outbox_pending": 812}, found)
        change_part(run, "reconciliation", "E", outbox_pending=812)

    assert judged(tmp_path, USAGE, defect).cause == cause


def test_a_listing_cut_short_is_open(tmp_path: Path) -> None:
    result = judged(tmp_path, TIMELINES, lambda run: change_part(run, "timelines", "A", total=50))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "only 50 timelines for" in result.why


@pytest.mark.parametrize(("more", "verdict"), [(0, Verdict.PASS), (-1, Verdict.INCONCLUSIVE)])
def test_as_many_timelines_as_executed_calls_are_enough(tmp_path: Path, more: int, verdict: Verdict) -> None:
    def as_many(run: SyntheticRun) -> None:
        change_part(run, "timelines", "A", total=executed_of(run, "A") + more)

    assert judged(tmp_path, TIMELINES, as_many).verdict is verdict


@pytest.mark.parametrize(("more", "verdict"), [(0, Verdict.PASS), (-1, Verdict.INCONCLUSIVE)])
def test_every_recorded_executed_call_must_have_been_matched(tmp_path: Path, more: int, verdict: Verdict) -> None:
    def matched(run: SyntheticRun) -> None:
        change_chain(run, "A", "independent", acknowledged=executed_of(run, "A") + more)

    assert judged(tmp_path, CHAIN, matched).verdict is verdict


@pytest.mark.parametrize(("left", "verdict"), [(0, Verdict.PASS), (1, Verdict.FAIL)])
def test_no_timeline_may_be_left_in_progress(tmp_path: Path, left: int, verdict: Verdict) -> None:
    assert (
        judged(tmp_path, TIMELINES, lambda run: change_part(run, "timelines", "D", in_progress=left)).verdict is verdict
    )


@pytest.mark.parametrize(("left", "verdict"), [(0, Verdict.PASS), (1, Verdict.FAIL)])
def test_no_dead_letter_may_be_left(tmp_path: Path, left: int, verdict: Verdict) -> None:
    queues = {"acp:billing_dlq": 0, "acp:audit_stream:dlq": left}

    result = judged(tmp_path, USAGE, lambda run: change_output(run, "platform_evidence", dead_letters=queues))

    assert result.verdict is verdict


def test_no_timelines_at_all_is_open(tmp_path: Path) -> None:
    result = judged(tmp_path, TIMELINES, lambda run: change_part(run, "timelines", "A", total=0))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "there are no timelines" in result.why


@pytest.mark.parametrize(("difference", "verdict"), [(-1, Verdict.FAIL), (0, Verdict.PASS), (1, Verdict.FAIL)])
def test_a_root_covers_exactly_the_rows_of_its_day(tmp_path: Path, difference: int, verdict: Verdict) -> None:
    result = judged(
        tmp_path, ROOTS, lambda run: change_part(run, "roots", "A", leaf_count=rows_of(run, "A") + difference)
    )

    assert result.verdict is verdict


@pytest.mark.parametrize("field", ["covers_last_row", "signature_valid", "root_hash_matches"])
def test_what_was_not_checked_of_a_root_is_open(tmp_path: Path, field: str) -> None:
    result = judged(tmp_path, ROOTS, lambda run: change_part(run, "roots", "A", **{field: None, "reason": "no key"}))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.why.endswith("could not be checked: no key")


@pytest.mark.parametrize(("leaves_short", "covers"), [(0, True), (32, False)])
def test_whether_a_root_reaches_the_last_row_is_open_while_rows_are_still_to_be_written(
    tmp_path: Path, leaves_short: int, covers: bool
) -> None:
    def defect(run: SyntheticRun) -> None:
        change_part(run, "roots", "A", leaf_count=rows_of(run, "A") - leaves_short, covers_last_row=covers)
        change_drain(run, drained=False, left={"acp:audit_stream": 5_888})

    result = judged(tmp_path, ROOTS, defect)
    assert (result.verdict, result.cause) == (Verdict.INCONCLUSIVE, "audit_worker_slow")
    assert "5,888 events still waited" in finding_of(result, f"tenant A {FIRST_DAY}").why


def test_rows_that_are_still_to_be_written_excuse_no_wrong_signature(tmp_path: Path) -> None:
    def defect(run: SyntheticRun) -> None:
        change_part(run, "roots", "A", signature_valid=False)
        change_drain(run, drained=False, left={"acp:audit_stream": 5_888})

    result = judged(tmp_path, ROOTS, defect)
    assert (result.verdict, result.cause) == (Verdict.FAIL, "root_signature_wrong")


def test_a_day_without_rows_needs_no_root(tmp_path: Path) -> None:
    def defect(run: SyntheticRun) -> None:
        roots = run.outputs["platform_evidence"].roots  # type: ignore[attr-defined]
        empty = [type(root)(tenant=root.tenant, root_date="2026-11-24", present=False, audit_rows=0) for root in roots]
        change_output(run, "platform_evidence", roots=(*roots, *empty))

    assert judged(tmp_path, ROOTS, defect).verdict is Verdict.PASS


FIRST_DAY, SECOND_DAY = "2026-11-23", "2026-11-24"
FIRST_DAY_ROWS = 100


def across_midnight(run: SyntheticRun) -> None:
    """Half of the requests come after midnight; the roots of both days are whole, 100 rows being of the first day."""
    # The run's epoch is 07:30 UTC, so 16.5 hours later is midnight.
    late = np.arange(len(run.requests)) % 2 == 0
    run.requests.columns["start_us"][late] += int(16.6 * 3_600 * 1e6)
    roots = run.outputs["platform_evidence"].roots  # type: ignore[attr-defined]
    by_day = []
    for root in roots:
        rows = root.audit_rows - FIRST_DAY_ROWS
        by_day.append(msgspec.structs.replace(root, leaf_count=FIRST_DAY_ROWS, audit_rows=FIRST_DAY_ROWS))
        by_day.append(msgspec.structs.replace(root, root_date=SECOND_DAY, leaf_count=rows, audit_rows=rows))
    change_output(run, "platform_evidence", roots=tuple(by_day))


def change_root(run: SyntheticRun, tenant: str, day: str, **changes: object) -> None:
    roots = run.outputs["platform_evidence"].roots  # type: ignore[attr-defined]
    changed = [
        msgspec.structs.replace(root, **changes) if (root.tenant, root.root_date) == (tenant, day) else root
        for root in roots
    ]
    change_output(run, "platform_evidence", roots=tuple(changed))


def test_a_run_across_midnight_passes_with_a_root_of_each_day(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, across_midnight)
    result = result_of(evidence, ROOTS)

    rows = sum(chain.independent.rows for chain in evidence.platform_evidence.chains)  # type: ignore[union-attr]
    assert result.verdict is Verdict.PASS
    assert len(result.findings) == 10
    assert finding_of(result, f"tenant A {FIRST_DAY}").figures["leaf_count"] == FIRST_DAY_ROWS
    assert (result.observed, result.limit) == (0.0, at_most(0.0, "roots missing or wrong"))
    assert result.why.startswith(f"10 roots with {rows:,} leaves checked")


def test_without_the_second_days_root_the_run_fails(tmp_path: Path) -> None:
    def missing(run: SyntheticRun) -> None:
        change_root(run, "B", SECOND_DAY, present=False, leaf_count=None)

    result = judged(tmp_path, ROOTS, across_midnight, missing)

    assert result.verdict is Verdict.FAIL
    assert f"tenant B: the root of {SECOND_DAY} is missing, though there are " in result.why
    assert finding_of(result, f"tenant B {FIRST_DAY}").verdict is Verdict.PASS
    assert result.likely_cause == "The root sealer skips a tenant or does not run."


def test_a_first_day_whose_root_was_not_completed_fails(tmp_path: Path) -> None:
    """The sealer went on to the new day before it had covered the last rows of the old one."""

    def stale(run: SyntheticRun) -> None:
        change_root(run, "C", FIRST_DAY, leaf_count=97, covers_last_row=False)

    result = judged(tmp_path, ROOTS, across_midnight, stale)

    assert result.verdict is Verdict.FAIL
    assert f"tenant C: the root of {FIRST_DAY} covers 97 of 100 rows and ends before the last row" in result.why
    assert finding_of(result, f"tenant C {SECOND_DAY}").verdict is Verdict.PASS
    assert (result.likely_cause or "").startswith("The sealer stopped before the last rows")


def test_a_day_with_calls_whose_root_was_not_looked_for_is_open(tmp_path: Path) -> None:
    def first_day_only(run: SyntheticRun) -> None:
        roots = run.outputs["platform_evidence"].roots  # type: ignore[attr-defined]
        change_output(run, "platform_evidence", roots=tuple(root for root in roots if root.root_date == FIRST_DAY))

    result = judged(tmp_path, ROOTS, across_midnight, first_day_only)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert sorted(finding.subject for finding in result.findings if finding.verdict is Verdict.INCONCLUSIVE) == [
        f"tenant {name} {SECOND_DAY}" for name in "ABCDE"
    ]
    assert finding_of(result, f"tenant A {FIRST_DAY}").verdict is Verdict.PASS
