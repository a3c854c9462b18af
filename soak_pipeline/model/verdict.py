"""Three-valued verdicts, how they merge, and the result of one criterion.

Missing data is INCONCLUSIVE, never PASS; the worst part decides the whole (design rule: Jepsen's `compose`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from soak_pipeline.model.errors import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS


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


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one subject of a criterion: a tenant, a process and resource, a validity condition.

    Attributes:
        subject: what was judged, such as `tenant E` or `gateway-1 rss_bytes`.
        verdict: the verdict on this subject alone.
        observed: the figure that decided, in `unit`; None when it could not be measured.
        limit: what the figure was held against, in `unit`; None when there is no single limit.
        unit: unit of observed, limit and interval, such as `ms`, `ratio`, `rows`, `share`.
        interval: confidence interval of `observed`, (low, high); an end that is unbounded is None.
        why: one sentence: subject, observed, limit, with units.
        figures: further named numbers, the name carrying the unit.
    """

    subject: str
    verdict: Verdict
    why: str
    observed: float | None = None
    limit: float | None = None
    unit: str = ""
    interval: tuple[float | None, float | None] | None = None
    figures: dict[str, float | int | str | None] = {}


class CriterionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one criterion says about a run; a row of `verdict.json`.

    Attributes:
        name: the fact in the present tense, such as `chain_has_no_violations`.
        verdict: worst of its findings; meaningless when `asked` is false.
        asked: false where the profile is too short to ask; then it does not take part in the overall verdict.
        advisory: true where the policy says that it never blocks; it is judged and shown all the same.
        observed, limit, unit, interval: those of the finding that decided.
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
    limit: float | None = None
    unit: str = ""
    interval: tuple[float | None, float | None] | None = None
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()
    cause: str | None = None
    likely_cause: str | None = None
    fix: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it takes part in the overall verdict."""
        return self.asked and not self.advisory


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
