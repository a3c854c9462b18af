"""A row is judged by what its run said: caught, missed, wrongly explained, too much turned, or nothing said at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.model.verdict import LOAD_WAS_VALID, CriterionResult, Verdict
from soak_pipeline.prove.judging import NOT_ASKED, Outcome, judge_row, was_spoiled
from soak_pipeline.prove.rows import Disturbance, Fault, Row, Turn, When

NAMES = ("chain_has_no_violations", "usage_matches_audit", "nothing_leaks")
CHAIN, USAGE, LEAKS = NAMES
FORKED = Row(
    name="chain_lock_skipped",
    what="two writers",
    faults=(Fault(name="chain_lock_skipped", parameters={"share": 0.5}),),
    turns=(Turn(criterion=CHAIN, verdict=Verdict.FAIL, cause="chain_forked"),),
)
CLEAN = Row(name="clean", what="nothing")


def results(*not_passed: tuple[str, Verdict, str | None], unasked: Sequence[str] = (LEAKS,)) -> list[CriterionResult]:
    """Every criterion PASS, but for some, and one that is not asked."""
    said = {name: (verdict, cause) for name, verdict, cause in not_passed}
    return [
        CriterionResult(
            name=name,
            verdict=said.get(name, (Verdict.PASS, None))[0],
            cause=said.get(name, (Verdict.PASS, None))[1],
            why=f"why of {name}",
            asked=name not in unasked,
        )
        for name in NAMES
    ]


def test_the_right_criterion_alone_with_the_right_cause_is_caught() -> None:
    judged = judge_row(FORKED, results((CHAIN, Verdict.FAIL, "chain_forked")), duration_s=93.26, run="rows/x")

    assert judged.outcome is Outcome.CAUGHT
    assert judged.outcome.holds
    assert judged.problems == ()
    assert judged.planted == ("chain_lock_skipped:share=0.5",)
    assert [cell.observed for cell in judged.cells] == ["FAIL", "PASS", NOT_ASKED]
    assert (judged.duration_s, judged.run) == (93.3, "rows/x")


@pytest.mark.parametrize(
    ("said", "outcome", "problem"),
    [
        ([], Outcome.MISSED, f"{CHAIN} is PASS, must be FAIL: why of {CHAIN}"),
        (
            [(CHAIN, Verdict.INCONCLUSIVE, "not_measured")],
            Outcome.MISSED,
            f"{CHAIN} is INCONCLUSIVE, must be FAIL: why of {CHAIN}",
        ),
        (
            [(CHAIN, Verdict.FAIL, "row_changed")],
            Outcome.WRONG_CAUSE,
            f"{CHAIN} names row_changed as the cause, must be chain_forked: why of {CHAIN}",
        ),
        (
            [(CHAIN, Verdict.FAIL, "chain_forked"), (USAGE, Verdict.INCONCLUSIVE, "not_measured")],
            Outcome.ALSO_TURNED,
            f"{USAGE} is INCONCLUSIVE, must be PASS: why of {USAGE}",
        ),
    ],
)
def test_what_is_not_as_expected_is_told(
    said: list[tuple[str, Verdict, str | None]], outcome: Outcome, problem: str
) -> None:
    judged = judge_row(FORKED, results(*said))

    assert judged.outcome is outcome
    assert not judged.outcome.holds
    assert judged.problems == (problem,)


def test_the_gravest_of_several_names_the_outcome_and_each_is_told() -> None:
    judged = judge_row(FORKED, results((USAGE, Verdict.FAIL, "usage_lost")))

    assert judged.outcome is Outcome.MISSED
    assert len(judged.problems) == 2


def test_a_clean_run_passes_or_is_a_false_alarm() -> None:
    assert judge_row(CLEAN, results()).outcome is Outcome.PASSED
    alarm = judge_row(CLEAN, results((USAGE, Verdict.INCONCLUSIVE, "not_measured")))
    assert alarm.outcome is Outcome.FALSE_ALARM
    assert alarm.problems == (f"{USAGE} is INCONCLUSIVE, must be PASS: why of {USAGE}",)


def test_a_criterion_that_must_turn_and_was_not_asked_is_missed() -> None:
    leak = Row(name="leak", what="", turns=(Turn(criterion=LEAKS, verdict=Verdict.FAIL, cause="rss_bytes_grows"),))

    assert judge_row(leak, results((LEAKS, Verdict.FAIL, "rss_bytes_grows"))).outcome is Outcome.MISSED
    asked = results((LEAKS, Verdict.FAIL, "rss_bytes_grows"), unasked=())
    assert judge_row(leak, asked).outcome is Outcome.CAUGHT


def test_a_criterion_that_the_verdict_lacks_is_missed() -> None:
    judged = judge_row(FORKED, results()[1:])

    assert judged.outcome is Outcome.MISSED
    assert judged.problems == (f"{CHAIN} is missing, must be FAIL: the run's verdict does not have this criterion",)


@pytest.mark.parametrize("row", [FORKED, CLEAN])
def test_without_a_verdict_nothing_is_proved(row: Row) -> None:
    judged = judge_row(row, None)

    assert (judged.outcome, judged.problems, judged.cells) == (
        Outcome.HARNESS_FAILED,
        ("the run left no verdict",),
        (),
    )


def test_a_run_in_which_the_fault_was_not_planted_proves_nothing_whatever_its_verdict() -> None:
    judged = judge_row(FORKED, results((CHAIN, Verdict.FAIL, "chain_forked")), problem="it could not be planted")

    assert (judged.outcome, judged.problems) == (Outcome.HARNESS_FAILED, ("it could not be planted",))


def test_what_is_planted_is_written_as_the_platform_takes_it() -> None:
    row = Row(
        name="both",
        what="",
        faults=(
            Fault(name="gateway_killed", parameters={"every_s": 10, "process": "gateway-0"}, when=When.SOAK),
            Fault(name="backfill_dead"),
        ),
        disturbance=Disturbance.KILL_LOAD_WORKER,
    )
    assert judge_row(row, None).planted == (
        "gateway_killed:every_s=10,process=gateway-0",
        "backfill_dead",
        "kill_load_worker",
    )


@pytest.mark.parametrize(
    ("verdict", "expected", "spoiled"),
    [
        (Verdict.INCONCLUSIVE, Verdict.PASS, True),
        (Verdict.PASS, Verdict.PASS, False),
        (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE, False),
        (Verdict.PASS, Verdict.INCONCLUSIVE, False),
    ],
)
def test_a_run_is_spoiled_when_it_calls_itself_invalid_without_being_made_so(
    verdict: Verdict, expected: Verdict, spoiled: bool
) -> None:
    turns = (Turn(criterion=LOAD_WAS_VALID, verdict=expected, cause="c"),) if expected is not Verdict.PASS else ()
    validity = CriterionResult(name=LOAD_WAS_VALID, verdict=verdict, why="", cause="c")
    missed = CriterionResult(name=CHAIN, verdict=Verdict.FAIL, why="")

    assert was_spoiled(judge_row(Row(name="row", what="", turns=turns), [missed, validity])) is spoiled


def test_a_run_without_a_verdict_is_not_spoiled_but_failed() -> None:
    assert not was_spoiled(judge_row(CLEAN, None))


VERDICTS = st.sampled_from(list(Verdict))


@given(
    said=st.tuples(VERDICTS, VERDICTS, VERDICTS),
    asked=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    expected=st.tuples(VERDICTS, VERDICTS, VERDICTS),
)
def test_a_row_holds_exactly_when_every_criterion_says_what_it_must(
    said: tuple[Verdict, ...], asked: tuple[bool, ...], expected: tuple[Verdict, ...]
) -> None:
    turns = tuple(
        Turn(criterion=name, verdict=verdict, cause="c")
        for name, verdict in zip(NAMES, expected, strict=True)
        if verdict is not Verdict.PASS
    )
    criteria = [
        CriterionResult(name=name, verdict=verdict, why="", asked=is_asked, cause=None if verdict == "PASS" else "c")
        for name, verdict, is_asked in zip(NAMES, said, asked, strict=True)
    ]

    judged = judge_row(Row(name="row", what="", turns=turns), criteria)

    by_hand = all(
        (not is_asked or verdict is Verdict.PASS) if wanted is Verdict.PASS else is_asked and verdict is wanted
        for verdict, is_asked, wanted in zip(said, asked, expected, strict=True)
    )
    assert judged.outcome.holds == by_hand
    assert bool(judged.problems) != by_hand


def test_a_row_needs_a_plain_name() -> None:
    with pytest.raises(ValueError, match="lower-case"):
        Row(name="../elsewhere", what="")
