"""How many requests a stretch of the plan will have, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from soak_pipeline.analysis.power import chance_of_at_least
from soak_pipeline.model.plan import TenantLoad
from soak_pipeline.model.preview import Outlook
from soak_pipeline.model.traffic import Kind

CHANCE = 0.95
"""With which enough must come together to be called decidable; with the rest of it, undecidable."""

EDGE_SHARE = 0.1
"""Requests that may fall on the other side of an edge within a window, as a share of the users: half the jitter of the
schedule."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests of one tenant in a stretch of constant load, and the share (0..1) of the judged kind among them."""

    requests: int
    share: float

    @property
    def expected(self) -> float:
        """Calls of the judged kind."""
        return self.requests * self.share

    def chance_of(self, needed: int, stretches: int = 1) -> float:
        """Chance that there are at least `needed` of the judged kind, in every one of so many such stretches."""
        return max(0.0, 1.0 - stretches * (1.0 - chance_of_at_least(needed, self.requests, self.share)))


def calls_in(load: TenantLoad, kind: Kind, length_s: float, *, edges: int) -> Calls:
    """The calls of a kind in `length_s` seconds of a window.

    Args:
        load: of the tenant in the window.
        kind: the judged kind.
        length_s: of the stretch (seconds).
        edges: how many of its two ends are inside the window; the schedule is exact over a whole one.
    """
    planned = load.requests_per_second * length_s
    sure = round(planned) if edges == 0 else math.floor(planned) - math.ceil(EDGE_SHARE * load.active_users * edges)
    return Calls(max(0, sure), load.mix.get(kind, 0.0))


def outlook_of(sure: float, possible: float) -> Outlook:
    """The outlook from the chance that enough is measured in any case, and the chance that it can be."""
    if sure >= CHANCE:
        return Outlook.DECIDABLE
    return Outlook.UNDECIDABLE if possible <= 1.0 - CHANCE else Outlook.UNCERTAIN
