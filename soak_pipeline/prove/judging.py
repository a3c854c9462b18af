"""Whether one row of the proof held: a pure function of the row and of what its run said.

A criterion that was not asked counts as held where the row expects nothing of it, and as missed where it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from soak_pipeline.model.verdict import LOAD_WAS_VALID, CriterionResult, Verdict
from soak_pipeline.prove.rows import Row, Turn

NOT_ASKED = "not asked"


class Outcome(StrEnum):
    """What became of a row; only CAUGHT and PASSED hold.

    CAUGHT: the expected criteria turned, with the right cause, and no other. PASSED: a clean run passed.
    MISSED: an expected criterion did not turn, or turned otherwise. WRONG_CAUSE: it did, but was explained wrongly.
    ALSO_TURNED: another criterion turned too. FALSE_ALARM: a clean run did not pass.
    HARNESS_FAILED: there is no verdict to judge.
    """

    CAUGHT = "caught"
    PASSED = "passed"
    MISSED = "missed"
    WRONG_CAUSE = "wrong cause"
    ALSO_TURNED = "also turned"
    FALSE_ALARM = "false alarm"
    HARNESS_FAILED = "harness failed"

    @property
    def holds(self) -> bool:
        """Whether the row proves what it should."""
        return self in (Outcome.CAUGHT, Outcome.PASSED)


_GRAVITY = (Outcome.MISSED, Outcome.ALSO_TURNED, Outcome.WRONG_CAUSE)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion in one row.

    Attributes:
        criterion: its name.
        expected: verdict that it must give.
        observed: verdict that it gave; `not asked` where the run was too short for it; None without a verdict.
        cause_expected, cause_observed: names of the diagnosis; None where there is none.
        why: the criterion's own sentence.
        because: why the row expects it beside its main criterion.
    """

    criterion: str
    expected: Verdict
    observed: str | None
    cause_expected: str | None
    cause_observed: str | None
    why: str = ""
    because: str = ""

    @property
    def holds(self) -> bool:
        """Whether the criterion did what it must."""
        return self.has_turned_rightly and self.cause_observed == self.cause_expected

    @property
    def has_turned_rightly(self) -> bool:
        """Whether verdict, if not cause, is as expected."""
        if self.expected is Verdict.PASS:
            return self.observed in (Verdict.PASS, NOT_ASKED)
        return self.observed == self.expected


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the matrix.

    Attributes:
        name, what: of the row.
        is_clean: whether nothing was planted.
        planted: the faults and the disturbance, as text.
        outcome: whether it held.
        problems: what did not hold, a sentence each.
        cells: one per criterion, in the registry's order; empty without a verdict.
        duration_s: of the run with its platform (seconds).
        run: path of the run folder, relative to the proof's folder; empty without one.
        attempts: runs that it took; more than one where the first was not valid, see `was_spoiled`.
    """

    name: str
    what: str
    is_clean: bool
    planted: tuple[str, ...]
    outcome: Outcome
    problems: tuple[str, ...]
    cells: tuple[Cell, ...]
    duration_s: float
    run: str = ""
    attempts: int = 1


def judge_row(
    row: Row,
    criteria: Sequence[CriterionResult] | None,
    *,
    problem: str = "",
    duration_s: float = 0.0,
    run: str = "",
) -> RowResult:
    """Holds a run's verdict against what the row expects.

    Args:
        row: of the catalogue.
        criteria: as the run's `verdict.json` has them; None when there is none.
        problem: why the run proves nothing, although it may have a verdict: it failed, or the fault was not planted.
        duration_s, run: for the record.
    """
    cells = () if criteria is None else _cells(row, {result.name: result for result in criteria})
    problems = [problem] if problem else [] if criteria is not None else ["the run left no verdict"]
    outcome = Outcome.HARNESS_FAILED if problems else _outcome(row, cells)
    if not problems:
        problems = [_sentence(cell) for cell in cells if not cell.holds]
    return RowResult(
        name=row.name,
        what=row.what,
        is_clean=row.is_clean,
        planted=planted(row),
        outcome=outcome,
        problems=tuple(problems),
        cells=cells,
        duration_s=round(duration_s, 1),
        run=run,
    )


def was_spoiled(result: RowResult) -> bool:
    """Whether the run says of itself that it did not measure, though nothing was done to the measurement.

    Such a run speaks neither for nor against the gate: the machine was busy with something else. It is run once more.
    """
    return any(
        cell.criterion == LOAD_WAS_VALID and cell.expected is Verdict.PASS and cell.observed == Verdict.INCONCLUSIVE
        for cell in result.cells
    )


def planted(row: Row) -> tuple[str, ...]:
    """What a row plants, as text."""
    faults = [fault.text() for fault in row.faults]
    return (*faults, row.disturbance.value) if row.disturbance else tuple(faults)


def _cells(row: Row, results: Mapping[str, CriterionResult]) -> tuple[Cell, ...]:
    turns = {turn.criterion: turn for turn in row.turns}
    names = [*results, *(name for name in turns if name not in results)]
    return tuple(_cell(name, results.get(name), turns.get(name)) for name in names)


def _cell(name: str, result: CriterionResult | None, turn: Turn | None) -> Cell:
    observed, cause, why = None, None, "the run's verdict does not have this criterion"
    if result is not None:
        observed, why = (result.verdict.value if result.asked else NOT_ASKED), result.why
        cause = result.cause if result.asked and result.verdict is not Verdict.PASS else None
    return Cell(
        criterion=name,
        expected=Verdict.PASS if turn is None else turn.verdict,
        observed=observed,
        cause_expected=None if turn is None else turn.cause,
        cause_observed=cause,
        why=why,
        because="" if turn is None else turn.because,
    )


def _outcome(row: Row, cells: Sequence[Cell]) -> Outcome:
    wrong = [cell for cell in cells if not cell.holds]
    if not wrong:
        return Outcome.PASSED if row.is_clean else Outcome.CAUGHT
    if row.is_clean:
        return Outcome.FALSE_ALARM
    return min((_fault_of(cell) for cell in wrong), key=_GRAVITY.index)


def _fault_of(cell: Cell) -> Outcome:
    if cell.has_turned_rightly:
        return Outcome.WRONG_CAUSE
    return Outcome.ALSO_TURNED if cell.expected is Verdict.PASS else Outcome.MISSED


def _sentence(cell: Cell) -> str:
    if cell.has_turned_rightly:
        return f"{cell.criterion} names {cell.cause_observed} as the cause, must be {cell.cause_expected}: {cell.why}"
    return f"{cell.criterion} is {cell.observed or 'missing'}, must be {cell.expected}: {cell.why}"
