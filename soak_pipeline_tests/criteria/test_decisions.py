"""Decisions: zero tolerance for wrong ones, the error share at its limit, and whether enough was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soak_pipeline.criteria.decisions.decisions_are_correct import NO_WRONG_DECISION
from soak_pipeline.model.verdict import Verdict, at_most
from soak_pipeline_tests.criteria.judging import finding_of, judged
from soak_pipeline_tests.evidence_defects import go_wrong, set_outcome
from soak_pipeline_tests.evidence_factory import SyntheticRun

DECISIONS = "decisions_are_correct"


def requests_of(run: SyntheticRun, tenant: str) -> int:
    """Requests of a tenant in the phases of the load."""
    return int((run.requests.where(tenant=tenant) & ~run.requests.where(phase="fanout")).sum())


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("wrongly_allowed", "1 request was executed though it must be denied, limit 0 (1 x attack_sql)"),
        ("wrongly_denied", "1 request was refused though it is legitimate, limit 0 (1 x attack_sql)"),
        ("client_error", "1 request met an unexpected 4xx, limit 0 (1 x attack_sql)"),
    ],
)
def test_one_wrong_decision_fails_with_its_operation(tmp_path: Path, outcome: str, words: str) -> None:
    result = judged(
        tmp_path,
        DECISIONS,
        lambda run: set_outcome(run, outcome, 200, 1, phase="soak", tenant="C", operation="attack_sql"),
    )

    assert result.verdict is Verdict.FAIL
    assert words in result.why
    assert (result.observed, result.limit) == (1, at_most(0, "wrong decisions"))


def test_an_executed_attack_is_named_before_anything_else(tmp_path: Path) -> None:
    result = judged(
        tmp_path,
        DECISIONS,
        lambda run: set_outcome(run, "wrongly_denied", 403, 50, phase="soak", tenant="A", kind="allowed"),
        lambda run: go_wrong(run, "server_error", 500, 0.5, phase="soak", tenant="B"),
        lambda run: set_outcome(run, "wrongly_allowed", 200, 1, phase="soak", tenant="E", kind="denied"),
    )

    assert result.why.startswith("tenant E: 1 request was executed though it must be denied")
    assert [finding.subject for finding in result.findings[:3]] == ["tenant E", "tenant A", "tenant B"]
    assert "Do not promote" in (result.fix or "")


@pytest.mark.parametrize(("more", "verdict"), [(0, Verdict.PASS), (1, Verdict.FAIL)])
def test_the_error_share_may_reach_its_limit(tmp_path: Path, more: int, verdict: Verdict) -> None:
    def errors(run: SyntheticRun) -> None:
        # Cut the tenant's load to 2,000 requests, of which 0.5 % are ten.
        rows = np.flatnonzero(run.requests.where(tenant="B", session="fairness-1"))
        keep = np.ones(len(run.requests), dtype=bool)
        keep[rows[: requests_of(run, "B") - 2_000]] = False
        run.requests.keep(keep)
        assert requests_of(run, "B") == 2_000
        set_outcome(run, "timeout", 0, 10 + more, phase="burst", tenant="B")

    finding = finding_of(judged(tmp_path, DECISIONS, errors), "tenant B")

    assert finding.verdict is verdict
    assert finding.figures["error_share"] == (10 + more) / 2_000
    headline = (0.0, NO_WRONG_DECISION) if verdict is Verdict.PASS else (11 / 2_000, at_most(0.005, "share"))
    assert (finding.observed, finding.limit) == headline


def test_errors_of_the_soak_are_not_diluted_by_other_phases(tmp_path: Path) -> None:
    result = judged(tmp_path, DECISIONS, "throttling_storm")

    assert result.verdict is Verdict.FAIL
    assert "of the soak went wrong" in result.why
    assert "13 throttled" in result.why


def test_one_error_of_a_small_tenant_in_a_short_soak_is_no_storm(tmp_path: Path) -> None:
    result = judged(
        tmp_path, DECISIONS, lambda run: set_outcome(run, "transport_error", 0, 1, phase="soak", tenant="E")
    )

    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize("outcome", ["timeout", "transport_error", "server_error", "malformed", "throttled"])
def test_every_kind_of_error_counts(tmp_path: Path, outcome: str) -> None:
    result = judged(tmp_path, DECISIONS, lambda run: go_wrong(run, outcome, 0, 0.1, phase="soak", tenant="A"))

    assert result.verdict is Verdict.FAIL
    assert outcome.replace("_", " ") in result.why


@pytest.mark.parametrize(("tenant", "phase", "verdict"), [("A", "burst", Verdict.PASS), ("B", "burst", Verdict.FAIL)])
def test_throttling_is_due_only_to_the_noisy_tenant_in_its_burst(
    tmp_path: Path, tenant: str, phase: str, verdict: Verdict
) -> None:
    result = judged(tmp_path, DECISIONS, lambda run: go_wrong(run, "throttled", 429, 0.2, phase=phase, tenant=tenant))

    assert finding_of(result, f"tenant {tenant}").verdict is verdict


def test_the_noisy_tenants_throttling_in_the_soak_counts(tmp_path: Path) -> None:
    result = judged(tmp_path, DECISIONS, lambda run: go_wrong(run, "throttled", 429, 0.2, phase="soak", tenant="A"))

    assert finding_of(result, "tenant A").verdict is Verdict.FAIL


def test_wrong_answers_of_fan_out_and_probe_belong_to_their_own_criteria(tmp_path: Path) -> None:
    result = judged(
        tmp_path, DECISIONS, lambda run: set_outcome(run, "wrongly_allowed", 200, 5, phase="fanout", tenant="B")
    )

    assert result.verdict is Verdict.PASS


def test_an_operation_that_was_never_sent_is_open(tmp_path: Path) -> None:
    def forget(run: SyntheticRun) -> None:
        run.requests.keep(~run.requests.where(operation="attack_cross_tenant"))

    result = judged(tmp_path, DECISIONS, forget)

    assert result.verdict is Verdict.INCONCLUSIVE
    assert "attack_cross_tenant was never sent" in result.why


@pytest.mark.parametrize(("kept", "verdict"), [(29, Verdict.INCONCLUSIVE), (30, Verdict.PASS)])
def test_thirty_of_a_kind_are_the_fewest(tmp_path: Path, kept: int, verdict: Verdict) -> None:
    def thin(run: SyntheticRun) -> None:
        rows = np.flatnonzero(run.requests.where(kind="misc"))
        keep = np.ones(len(run.requests), dtype=bool)
        keep[rows] = False
        operations = run.requests.columns["operation"][rows]
        one_of_each = [rows[operations == value][0] for value in np.unique(operations)]
        rest = np.setdiff1d(rows, one_of_each)[: kept - len(one_of_each)]
        keep[[*one_of_each, *rest]] = True
        run.requests.keep(keep)

    assert finding_of(judged(tmp_path, DECISIONS, thin), "operations").verdict is verdict


def test_a_tenant_that_sent_no_attack_is_open(tmp_path: Path) -> None:
    result = judged(tmp_path, DECISIONS, lambda run: run.requests.keep(~run.requests.where(tenant="D", kind="denied")))

    assert finding_of(result, "tenant D").verdict is Verdict.INCONCLUSIVE
    assert "tenant D sent no denied call" in result.why


def test_the_rule_of_three_bounds_what_was_not_seen(tmp_path: Path) -> None:
    figures = finding_of(judged(tmp_path, DECISIONS), "tenant A").figures

    assert figures["wrongly_allowed_share_upper_95"] == pytest.approx(3 / figures["denied_calls"])  # type: ignore[operator]
