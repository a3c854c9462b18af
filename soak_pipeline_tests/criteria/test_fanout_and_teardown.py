"""Fan-out and teardown: at the limit, and what leaves them open."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from soak_pipeline.criteria.fanout.fanout_is_correct import most_at_once
from soak_pipeline.model.stage_outputs import StageStatus
from soak_pipeline.model.verdict import Verdict, at_least
from soak_pipeline_tests.criteria.judging import evidence_of, finding_of, judged
from soak_pipeline_tests.evidence_defects import (
    change_chain,
    change_graph,
    change_output,
    change_silence,
    set_outcome,
)
from soak_pipeline_tests.evidence_factory import SyntheticRun

FANOUT = "fanout_is_correct"
TEARDOWN = "teardown_is_silent"


def test_a_fork_in_the_fan_outs_chain_fails_it(tmp_path: Path) -> None:
    result = judged(tmp_path, FANOUT, lambda run: change_chain(run, "B", "independent", forks=1))

    assert result.verdict is Verdict.FAIL
    assert finding_of(result, "chain").observed == 1
    assert "lock does not exclude" in (result.likely_cause or "")


def test_a_fork_elsewhere_does_not(tmp_path: Path) -> None:
    assert judged(tmp_path, FANOUT, lambda run: change_chain(run, "A", "independent", forks=1)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent_nodes": 49}, "49 nodes for 50 agents"),
        ({"agent_nodes": 51}, "51 nodes for 50 agents"),
        ({"duplicate_nodes": 1}, "1 node doubled"),
        ({"duplicate_edges": 1}, "1 call with more than one edge"),
        ({"missing_edges": 1}, "1 allowed call without an edge"),
    ],
)
def test_one_collision_in_the_graph_fails(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    result = judged(tmp_path, FANOUT, lambda run: change_graph(run, **changes))

    assert result.verdict is Verdict.FAIL
    assert words in result.why


def test_a_graph_that_was_not_read_is_open(tmp_path: Path) -> None:
    result = judged(
        tmp_path,
        FANOUT,
        lambda run: change_graph(run, missing_edges=None, reason="no access"),  # type: ignore[arg-type]
    )

    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.why.endswith("was not checked: no access")


@pytest.mark.parametrize("outcome", ["timeout", "wrongly_denied", "wrongly_allowed", "server_error"])
def test_one_wrong_answer_in_the_fan_out_fails(tmp_path: Path, outcome: str) -> None:
    result = judged(tmp_path, FANOUT, lambda run: set_outcome(run, outcome, 0, 1, session="fanout", kind="allowed"))

    assert result.verdict is Verdict.FAIL
    assert finding_of(result, "calls").observed == 1


def test_a_revocation_without_a_call_in_between_is_open(tmp_path: Path) -> None:
    def untested(run: SyntheticRun) -> None:
        first, *others = run.outputs["agent_fanout"].revocations  # type: ignore[attr-defined]
        change_output(run, "agent_fanout", revocations=(msgspec.structs.replace(first, calls_while_revoked=0), *others))

    result = judged(tmp_path, FANOUT, untested)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "revocation").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "changes",
    [
        {"status": StageStatus.CUT_SHORT, "reason": "the lease ended"},
        {"agents": 49},
        {"calls": 599},
        {"calls": 651},
        {"revocations": ()},
    ],
    ids=["cut short", "an agent missing", "a call missing", "records missing", "no revocation"],
)
def test_a_fan_out_that_did_not_go_as_planned_is_open(tmp_path: Path, changes: dict[str, object]) -> None:
    result = judged(tmp_path, FANOUT, lambda run: change_output(run, "agent_fanout", **changes))

    assert result.verdict is Verdict.INCONCLUSIVE


def test_calls_one_after_the_other_test_nothing(tmp_path: Path) -> None:
    def serialise(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(session="fanout"))
        start = run.zero_us["fanout"] + np.arange(len(rows)) * 1_000_000
        run.requests.columns["start_us"][rows] = start

    result = judged(tmp_path, FANOUT, serialise)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "concurrency").observed == 1


@pytest.mark.parametrize(("at_once", "verdict"), [(5, Verdict.PASS), (4, Verdict.INCONCLUSIVE)])
def test_a_tenth_of_the_agents_at_once_is_the_least(tmp_path: Path, at_once: int, verdict: Verdict) -> None:
    """Of 50 agents; the calls come in groups of so many, a second apart."""

    def group(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(session="fanout"))
        columns = run.requests.columns
        columns["start_us"][rows] = run.zero_us["fanout"] + np.arange(len(rows)) // at_once * 1_000_000
        columns["service_us"][rows] = 10_000

    finding = finding_of(judged(tmp_path, FANOUT, group), "concurrency")

    assert (finding.observed, finding.limit) == (at_once, at_least(5, "calls at once"))
    assert finding.verdict is verdict


def test_most_at_once_is_that_of_a_count_moment_by_moment(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    rows = evidence.requests.take(evidence.requests.where(session="fanout", kind="allowed"))
    start, end = rows.columns["start_us"], rows.columns["start_us"] + rows.columns["service_us"]

    assert most_at_once(rows) == max(int(((start <= moment) & (end > moment)).sum()) for moment in start)


@pytest.mark.parametrize(("allowed", "verdict"), [(0, Verdict.PASS), (2, Verdict.PASS), (3, Verdict.FAIL)])
def test_as_many_probe_calls_as_the_limit_says_may_be_served(tmp_path: Path, allowed: int, verdict: Verdict) -> None:
    statuses = {"200": allowed, "429": 5 - allowed}

    result = judged(
        tmp_path,
        TEARDOWN,
        lambda run: change_silence(run, "B", probe_allowed=allowed, probe_statuses=statuses),
        probe_allowed_max=2.0,
    )

    assert result.verdict is verdict


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ({"429": 5}, Verdict.PASS),
        ({"403": 5}, Verdict.PASS),
        ({"503": 5}, Verdict.INCONCLUSIVE),
        ({"0": 5}, Verdict.INCONCLUSIVE),
        ({"429": 4, "500": 1}, Verdict.INCONCLUSIVE),
    ],
)
def test_only_a_refusal_proves_the_silence(tmp_path: Path, statuses: dict[str, int], verdict: Verdict) -> None:
    result = judged(tmp_path, TEARDOWN, lambda run: change_silence(run, "B", probe_statuses=statuses))

    assert result.verdict is verdict


@pytest.mark.parametrize("rows", [0, 1])
def test_no_executed_call_may_be_later_than_the_block(tmp_path: Path, rows: int) -> None:
    result = judged(tmp_path, TEARDOWN, lambda run: change_output(run, "teardown", audit_rows_after_block=rows))

    assert result.verdict is (Verdict.FAIL if rows else Verdict.PASS)


def test_rows_after_the_block_that_cannot_be_counted_are_open(tmp_path: Path) -> None:
    result = judged(tmp_path, TEARDOWN, lambda run: change_output(run, "teardown", audit_rows_after_block=None))

    assert result.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("late_us", "phase", "verdict"), [(0, "soak", Verdict.PASS), (1, "soak", Verdict.FAIL), (1, "probe", Verdict.PASS)]
)
def test_our_own_load_must_have_stopped_before_the_block(
    tmp_path: Path, late_us: int, phase: str, verdict: Verdict
) -> None:
    def late(run: SyntheticRun) -> None:
        row = np.flatnonzero(run.requests.where(session="soak"))[-1]
        blocked_us = run.outputs["teardown"].blocked_us  # type: ignore[attr-defined]
        run.requests.columns["start_us"][row] = blocked_us + late_us
        run.requests.set_text("phase", np.array([row]), phase)

    assert judged(tmp_path, TEARDOWN, late).verdict is verdict


def test_an_unknown_moment_of_the_block_is_open(tmp_path: Path) -> None:
    result = judged(tmp_path, TEARDOWN, lambda run: change_output(run, "teardown", blocked_us=None))

    assert result.verdict is Verdict.INCONCLUSIVE
    assert finding_of(result, "load after the block").verdict is Verdict.INCONCLUSIVE


def test_a_tenant_without_an_entry_is_open(tmp_path: Path) -> None:
    def forget(run: SyntheticRun) -> None:
        change_output(run, "teardown", tenants=run.outputs["teardown"].tenants[1:])  # type: ignore[attr-defined]

    assert finding_of(judged(tmp_path, TEARDOWN, forget), "tenant A").verdict is Verdict.INCONCLUSIVE
