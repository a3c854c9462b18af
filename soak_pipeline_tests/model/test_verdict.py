from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.model.verdict import CriterionResult, Verdict, overall, worst


def _result(verdict: Verdict, *, asked: bool = True) -> CriterionResult:
    return CriterionResult(name="some_fact_holds", verdict=verdict, why="because", asked=asked)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([Verdict.PASS, Verdict.PASS], Verdict.PASS),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], Verdict.INCONCLUSIVE),
        ([Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS], Verdict.FAIL),
        ([], Verdict.INCONCLUSIVE),
    ],
)
def test_the_worst_verdict_decides(verdicts: list[Verdict], expected: Verdict) -> None:
    assert worst(verdicts) is expected


@given(st.lists(st.sampled_from(Verdict), min_size=1), st.sampled_from(Verdict))
def test_one_more_verdict_never_improves_the_whole(verdicts: list[Verdict], further: Verdict) -> None:
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    assert order.index(worst([*verdicts, further])) >= order.index(worst(verdicts))


def test_what_was_not_asked_takes_no_part() -> None:
    assert overall([_result(Verdict.PASS), _result(Verdict.INCONCLUSIVE, asked=False)]) is Verdict.PASS


def test_nothing_asked_is_inconclusive() -> None:
    assert overall([_result(Verdict.PASS, asked=False)]) is Verdict.INCONCLUSIVE


def test_exit_codes() -> None:
    assert [verdict.exit_code for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)] == [0, 1, 2]
