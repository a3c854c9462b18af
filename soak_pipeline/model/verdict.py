"""Three-valued verdicts, how they merge, limits with their direction, and the result of one criterion.

Missing data is INCONCLUSIVE, never PASS; the worst part decides the whole (design rule: Jepsen's `compose`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from soak_pipeline.model.errors import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS

LOAD_WAS_VALID = "load_was_valid"
"""The criterion without which no other figure means anything: it is never advisory and never waived."""


class Verdict(StrEnum):
    """PASS allows a promotion; FAIL and INCONCLUSIVE block it."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"

    @property
    def exit_code(self) -> int:
        """Exit code of a command that ends with this verdict."""
        return _EXIT_CODES[self]


_SEVERITY = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
_EXIT_CODES = {
    Verdict.PASS: EXIT_PASS,
    Verdict.FAIL: EXIT_FAIL,
    Verdict.INCONCLUSIVE: EXIT_INCONCLUSIVE,
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts (FAIL > INCONCLUSIVE > PASS); of none at all, INCONCLUSIVE: nothing was measured."""
    return max(verdicts, key=_SEVERITY.index, default=Verdict.INCONCLUSIVE)


class Direction(StrEnum):
    """On which side of a limit a figure has to be; the limit itself is allowed in either case."""

    AT_MOST = "at_most"
    AT_LEAST = "at_least"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure is held against.

    Attributes:
        direction: the side that is allowed.
        value: finite, in `unit`.
        unit: such as `ms`, `ratio`, `rows`, `share`; empty for a plain number.

    Raises:
        ValueError: the value is not finite.
    """

    direction: Direction
    value: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a limit is a finite number, not {self.value}")

    def allows(self, observed: float) -> bool:
        """Whether a figure keeps the limit; exactly at it, it does. NaN keeps no limit."""
        if self.direction is Direction.AT_MOST:
            return observed <= self.value
        return observed >= self.value

    def closeness(self, observed: float | None) -> float:
        """How near to the limit a figure is, or how far beyond it: the larger, the graver, in either direction.

        1 at the limit, 0 at a distance of the limit's own size on the allowed side, 2 at that distance beyond it. A
        limit of zero has no size and nothing to use up: zero counts as 0, and what is beyond as 1 and as much more.

        Args:
            observed: in `unit`; None and NaN, which were not measured, come after every figure (minus infinity).
        """
        if observed is None or math.isnan(observed):
            return -math.inf
        beyond = observed - self.value if self.direction is Direction.AT_MOST else self.value - observed
        if self.value == 0:
            return 1.0 + beyond if beyond > 0 else beyond
        return 1.0 + beyond / abs(self.value)


def at_most(value: float, unit: str = "") -> Limit:
    """The limit that a figure must not exceed."""
    return Limit(direction=Direction.AT_MOST, value=float(value), unit=unit)


def at_least(value: float, unit: str = "") -> Limit:
    """The limit that a figure must reach."""
    return Limit(direction=Direction.AT_LEAST, value=float(value), unit=unit)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one subject of a criterion: a tenant, a process and resource, a validity condition.

    Attributes:
        subject: what was judged, such as `tenant acme-eu` or `gateway-1 rss_bytes`.
        verdict: the verdict on this subject alone.
        observed: the figure that decided, in `unit`; None when it could not be measured.
        limit: what the figure was held against; None when there is no single limit.
        unit: of observed and interval; where there is a limit, its unit, which need not be given again.
        interval: confidence interval of `observed`, (low, high); an end that is unbounded is None.
        why: one sentence: subject, observed, limit, with units.
        about: which question about the subject this answers, as a key for programs, such as `event_loop`; likely causes
            are chosen by it. Empty where the criterion asks only one.
        figures: further named numbers, the name carrying the unit.

    Raises:
        ValueError: the unit is not that of the limit.
    """

    subject: str
    verdict: Verdict
    why: str
    about: str = ""
    observed: float | None = None
    limit: Limit | None = None
    unit: str = ""
    interval: tuple[float | None, float | None] | None = None
    figures: dict[str, float | int | str | None] = {}

    def __post_init__(self) -> None:
        _share_the_unit(self, self.limit)


class CriterionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one criterion says about a run; a row of `verdict.json`.

    Attributes:
        name: the fact in the present tense, such as `chain_has_no_violations`.
        verdict: worst of its findings; meaningless when `asked` is false.
        asked: false where the profile is too short to ask; then it does not take part in the overall verdict.
        advisory: true where the policy says that it never blocks; it is judged and shown all the same.
        observed, limit, unit, interval: the headline, as in `Finding`: the figure that decided, or where all is well
            the one that is nearest to its limit; what must be none at all is added up over the findings.
        why: one sentence for a person.
        findings: one per subject, worst first.
        evidence: files of the run folder, relative to it, that show it.
        cause: name of the likely cause, such as `chain_forked`, when the verdict is not PASS; stable, for programs.
        likely_cause, fix: the same for a person, with figures from the evidence.
    """

    name: str
    verdict: Verdict
    why: str
    asked: bool = True
    advisory: bool = False
    observed: float | None = None
    limit: Limit | None = None
    unit: str = ""
    interval: tuple[float | None, float | None] | None = None
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()
    cause: str | None = None
    likely_cause: str | None = None
    fix: str | None = None

    def __post_init__(self) -> None:
        _share_the_unit(self, self.limit)

    @property
    def counts(self) -> bool:
        """Whether it takes part in the overall verdict."""
        return self.asked and not self.advisory


def _share_the_unit(figure: Finding | CriterionResult, limit: Limit | None) -> None:
    """A figure has the unit of its limit.

    Raises:
        ValueError: it was given another one.
    """
    if limit is None or limit.unit == figure.unit:
        return
    if figure.unit:
        raise ValueError(f"a figure in {figure.unit} is held against a limit in {limit.unit or 'no unit'}")
    msgspec.structs.force_setattr(figure, "unit", limit.unit)


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Every criterion's result on one run, and the overall verdict.

    Attributes:
        run_id: key of the run, its UTC timestamp.
        verdict: worst over the criteria that count: those that were asked and are not advisory.
        criteria: one result per registered criterion, in the registry's order.
        judged_at: UTC, ISO 8601 with `Z`.
        thresholds_changed: the `--set` overrides under which it was judged; empty for the plan's own.
    """

    run_id: str
    verdict: Verdict
    criteria: tuple[CriterionResult, ...]
    judged_at: str
    thresholds_changed: dict[str, float] = {}


def overall(criteria: Iterable[CriterionResult]) -> Verdict:
    """Worst verdict among the criteria that count; INCONCLUSIVE when none does."""
    return worst(result.verdict for result in criteria if result.counts)
