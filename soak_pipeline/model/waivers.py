"""Waivers: who lets a release pass although one criterion does not hold, why, and until when.

Owns what a waiver is and what it may excuse. Never reads a file, and never looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

from soak_pipeline.model.verdict import LOAD_WAS_VALID, CriterionResult, Verdict

NEVER_WAIVED = frozenset({LOAD_WAS_VALID})
"""Without a valid load every other figure means nothing, so that there would be nothing to take a risk on."""


class Waiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of a waivers file.

    Attributes:
        criterion: the criterion that need not hold.
        owner: the person or team that answers for it.
        reason: why the risk is taken, with a reference where there is one.
        expiry: last day on which it holds (UTC).
        release, target: the only release and target it is for; None for any.
    """

    criterion: str
    owner: str
    reason: str
    expiry: date
    release: str | None = None
    target: str | None = None

    def problems(self, criteria: Sequence[str]) -> list[str]:
        """What is wrong with it, one sentence each; a waiver with a problem excuses nothing.

        Args:
            criteria: names of all criteria.
        """
        found = []
        if self.criterion in NEVER_WAIVED:
            found.append(f"criterion {self.criterion} can never be waived: without it no figure of the run counts")
        elif self.criterion not in criteria:
            found.append(f"unknown criterion {self.criterion!r}; known: {', '.join(criteria)}")
        found += [
            f"{name} is empty; {hint}"
            for name, hint in (("owner", "name who answers for it"), ("reason", "say why the risk is taken"))
            if not getattr(self, name).strip()
        ]
        found += [
            f"{name} is empty; leave the key out to mean any {name}"
            for name in ("release", "target")
            if getattr(self, name) == ""
        ]
        return found

    def covers(self, criterion: str, release: str, target: str) -> bool:
        """Whether it is about that criterion, release and target; its expiry is another question."""
        return self.criterion == criterion and self.release in (None, release) and self.target in (None, target)


class Waived(msgspec.Struct, frozen=True, kw_only=True):
    """A criterion that does not hold, and the waiver that excuses it."""

    criterion: str
    verdict: Verdict
    why: str
    owner: str
    reason: str
    expiry: date


class Excused(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a verdict under waivers.

    Attributes:
        waived: criteria that do not hold and are excused.
        unmet: criteria that do not hold and are not.
        notes: one sentence per waiver that would have excused a criterion, had it not expired.
    """

    waived: tuple[Waived, ...]
    unmet: tuple[CriterionResult, ...]
    notes: tuple[str, ...]


def excuse(
    criteria: Iterable[CriterionResult], waivers: Iterable[Waiver], *, release: str, target: str, today: date
) -> Excused:
    """Parts the criteria that do not hold into the excused ones and the others.

    Args:
        criteria: every result of the run; those that do not count need no excuse.
        waivers: without problems.
        release, target: of the run.
        today: date in UTC; a waiver still holds on its expiry date.
    """
    waivers = tuple(waivers)
    waived, unmet, notes = [], [], []
    for result in criteria:
        if not result.counts or result.verdict is Verdict.PASS:
            continue
        covering = [waiver for waiver in waivers if waiver.covers(result.name, release, target)]
        valid = next((waiver for waiver in covering if today <= waiver.expiry), None)
        if valid is None or result.name in NEVER_WAIVED:
            unmet.append(result)
            notes += [
                f"the waiver of {waiver.criterion} by {waiver.owner} expired on {waiver.expiry}; it excuses nothing"
                for waiver in covering
            ]
            continue
        waived.append(
            Waived(
                criterion=result.name,
                verdict=result.verdict,
                why=result.why,
                owner=valid.owner,
                reason=valid.reason,
                expiry=valid.expiry,
            )
        )
    return Excused(waived=tuple(waived), unmet=tuple(unmet), notes=tuple(notes))
