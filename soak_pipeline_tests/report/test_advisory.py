"""A criterion that the policy makes advisory is judged and shown everywhere, and blocks nothing anywhere."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import dagster as dg
import msgspec
import pytest

from soak_pipeline.commands.gate import GateQuestion, GateVerdict, answer
from soak_pipeline.criteria.registry import judge_run
from soak_pipeline.defs.assets.post_run_checks import check_result
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.model.verdict import CriterionResult, Verdict, overall
from soak_pipeline.report.junit import junit_xml
from soak_pipeline.report.markdown import verdict_table_markdown
from soak_pipeline.report.table import plain_verdict
from soak_pipeline.report.verdict_document import reason_of, verdict_document
from soak_pipeline_tests.commands.gate_runs import NOW, RUN_ID, store_run
from soak_pipeline_tests.criteria.judging import SMALL
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.policies import POLICY

HELD = CriterionResult(name="roots_are_sealed", verdict=Verdict.PASS, why="sealed")
LEAKS = CriterionResult(name="nothing_leaks", verdict=Verdict.FAIL, why="gateway-1 leaks", advisory=True)


def test_it_takes_no_part_in_the_overall_verdict() -> None:
    assert overall([HELD, LEAKS]) is Verdict.PASS
    assert overall([HELD, msgspec.structs.replace(LEAKS, advisory=False)]) is Verdict.FAIL
    assert overall([LEAKS]) is Verdict.INCONCLUSIVE, "nothing that counts was judged"


def test_it_is_named_in_every_format(tmp_path: Path) -> None:
    plan = make_run(tmp_path, profile=SMALL).read_plan()
    judgement = msgspec.structs.replace(
        judge_run(read_evidence(make_run(tmp_path, profile=SMALL))), criteria=(HELD, LEAKS), verdict=Verdict.PASS
    )
    document = verdict_document(plan, judgement)
    assert reason_of(judgement).endswith("advisory, so without effect on the verdict: nothing_leaks.")
    assert "FAIL          nothing_leaks (advisory)" in plain_verdict(document, 100)
    assert "`nothing_leaks` (advisory)" in verdict_table_markdown(document.criteria)
    suite = ET.fromstring(junit_xml(document))
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "0", "1")
    skipped = suite.find("testsuite/testcase[@name='nothing_leaks']/skipped")
    assert skipped is not None
    assert skipped.get("message") == "advisory, FAIL: gateway-1 leaks"
    check = check_result(LEAKS)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(check.description).startswith("advisory: gateway-1 leaks")


def test_the_plan_decides_which_criteria_are_advisory(tmp_path: Path) -> None:
    evidence = read_evidence(make_run(tmp_path, profile=SMALL))
    plan = msgspec.structs.replace(evidence.plan, advisory=("roots_are_sealed",))
    judgement = judge_run(type(evidence)(**{**vars_of(evidence), "plan": plan}))
    assert [result.name for result in judgement.criteria if result.advisory] == ["roots_are_sealed"]


def vars_of(evidence: object) -> dict[str, object]:
    names = getattr(evidence, "__dataclass_fields__")  # noqa: B009
    return {name: getattr(evidence, name) for name in names}


@pytest.mark.parametrize("in_policy", [True, False])
def test_the_gate_opens_only_where_its_own_policy_says_so_too(tmp_path: Path, in_policy: bool) -> None:
    changed = msgspec.structs.replace(POLICY.policy, advisory=("nothing_leaks",))
    policy = type(POLICY)(changed, None, {}) if in_policy else POLICY
    store_run(tmp_path, criteria={"nothing_leaks": Verdict.FAIL}, advisory=("nothing_leaks",))
    given = answer(tmp_path, GateQuestion(level="nightly", release="v1.2.3"), NOW, policy)
    assert given.run_id == RUN_ID
    if in_policy:
        assert given.verdict is GateVerdict.PASS, given.why
        assert given.notes == ("nothing_leaks is FAIL and only advisory: tenant E: FAIL",)
    else:
        assert given.verdict is GateVerdict.INCONCLUSIVE
        assert "criterion nothing_leaks is advisory, not blocking" in given.why
