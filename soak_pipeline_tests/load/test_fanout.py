"""The fan-out against a small platform that honours a revocation, and one that does not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.evidence.requests import read_requests
from soak_pipeline.load.sender.fanout import Demand, outcome_of
from soak_pipeline.load.session import run_fanout
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import FanoutEvidence, StageStatus
from soak_pipeline.model.traffic import Outcome
from soak_pipeline_tests.load.example_run import ENVIRONMENT, behaviour_for, example_plan, provisioned_for
from soak_pipeline_tests.load.processes import load_processes
from soak_pipeline_tests.load.small_platform import running_platform

EXECUTED = b'{"success": true, "request_id": "r", "action": "allow"}'
DENIED = b'{"success": false, "error": "not permitted"}'


def run(run_dir: Path, plan: Plan, url: str) -> FanoutEvidence:
    return run_fanout(
        plan=plan,
        provisioned=provisioned_for(plan),
        run_dir=run_dir,
        gateway_url=url,
        environment=ENVIRONMENT,
        still_wanted=lambda: True,
    )


def test_a_revocation_denies_and_a_grant_allows_again(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan)) as platform:
        evidence = run(tmp_path, plan, platform.url)
    assert (evidence.status, evidence.reason) == (StageStatus.COMPLETE, "")
    assert (evidence.tenant, evidence.agents, evidence.unanswered) == ("B", 6, 0)
    assert [revocation.agent_id for revocation in evidence.revocations] == ["fan-0", "fan-1"]
    for revocation in evidence.revocations:
        assert revocation.calls_while_revoked >= 3
        assert revocation.allowed_while_revoked == 0
        assert revocation.calls_after_regrant >= 3
        assert revocation.denied_after_regrant == 0
    table = read_requests(tmp_path / "requests")
    calls = table.take(table.where(kind="allowed"))
    assert evidence.calls == len(calls) >= 6 * 3 * 3
    assert set(calls.text("phase")) == {"fanout"}
    assert set(calls.text("outcome")) == {"ok"}
    assert set(calls.text("session")) == {"fanout"}
    # Denials that were demanded are ok, and keep their status.
    assert set(calls.columns["status"]) == {200, 403}
    assert set(calls.columns["window"]) == {0, 1, 2}
    assert load_processes(tmp_path) == {}


def test_a_revocation_that_is_not_honoured_is_counted(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan, revocation_works=False)) as platform:
        evidence = run(tmp_path, plan, platform.url)
    assert evidence.status is StageStatus.COMPLETE
    for revocation in evidence.revocations:
        assert revocation.allowed_while_revoked == revocation.calls_while_revoked >= 3
    table = read_requests(tmp_path / "requests")
    wrong = table.where(outcome="wrongly_allowed").sum()
    assert wrong == sum(revocation.allowed_while_revoked for revocation in evidence.revocations)


def test_too_few_agents_are_a_failure_and_not_a_smaller_fanout(tmp_path: Path) -> None:
    plan = example_plan(fanout=msgspec.structs.replace(example_plan().profile.fanout, agents=7))
    with running_platform(behaviour_for(plan)) as platform:
        evidence = run(tmp_path, plan, platform.url)
    assert evidence.status is StageStatus.FAILED
    assert "tenant B has 6 fan-out agents, planned 7" in evidence.reason


def test_an_operator_that_cannot_log_in_is_a_failure(tmp_path: Path) -> None:
    plan = example_plan()
    with running_platform(behaviour_for(plan, logins_work=False)) as platform:
        evidence = run(tmp_path, plan, platform.url)
    assert evidence.status is StageStatus.FAILED
    assert evidence.calls == 0
    assert "operator's login answered 401" in evidence.reason


@pytest.mark.parametrize(
    ("demand", "status", "body", "outcome"),
    [
        (Demand.ALLOW, 200, EXECUTED, Outcome.OK),
        (Demand.ALLOW, 403, DENIED, Outcome.WRONGLY_DENIED),
        (Demand.DENY, 403, DENIED, Outcome.OK),
        (Demand.DENY, 200, EXECUTED, Outcome.WRONGLY_ALLOWED),
        (Demand.DENY, 500, b"", Outcome.SERVER_ERROR),
        (Demand.EITHER, 200, EXECUTED, Outcome.OK),
        (Demand.EITHER, 403, DENIED, Outcome.OK),
        (Demand.EITHER, 429, DENIED, Outcome.THROTTLED),
    ],
)
def test_the_outcome_follows_the_demand(demand: Demand, status: int, body: bytes, outcome: Outcome) -> None:
    assert outcome_of(nominal.DIALECT.answers, demand, status, body, "r") is outcome
