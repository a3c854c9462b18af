"""What a plan of a size can decide, said before the load: one expectation per criterion and subject."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Outlook(StrEnum):
    """Whether enough will have been measured to decide; not what the answer will be.

    DECIDABLE: at least 19 times in 20. UNDECIDABLE: at most once in 20, so the finding will be INCONCLUSIVE.
    UNCERTAIN: in between. SKIPPED: the plan does not ask.
    """

    DECIDABLE = "decidable"
    UNCERTAIN = "uncertain"
    UNDECIDABLE = "undecidable"
    SKIPPED = "skipped"


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What one criterion will have to go by, for one subject.

    Attributes:
        criterion: its name; the preview fills it in.
        subject: such as `tenant NAME`.
        outlook: see `Outlook`.
        why: what is expected and what is needed, as one clause.
        expected: the figure that decides whether enough is measured, in `unit`; None where there is none.
        needed: what it has to reach.
        unit: of both.
        remedy: what would make it decidable, as one clause; empty where it is, or where nothing is known to help.
        figures: the remedy and the power in numbers, each with its unit in its name.
    """

    subject: str
    outlook: Outlook
    why: str
    criterion: str = ""
    expected: float | None = None
    needed: float | None = None
    unit: str = ""
    remedy: str = ""
    figures: dict[str, float] = {}
