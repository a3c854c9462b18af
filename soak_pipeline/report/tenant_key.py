"""Which tenant has which colour on a page: up to eight have one of their own, the rest share one.

Owns the choice, and how tenants are named beside a drawing. Knows no tenant beforehand: names, their order and which
one is noisy come from the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from soak_pipeline.report.charts.canvas import TENANT_COLOURS, TENANT_OTHER

COLOURED = len(TENANT_COLOURS)
"""Tenants that are told apart by colour; beyond, a colour would not tell them apart any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKey:
    """The tenants of a page, and which of them have a colour of their own.

    Attributes:
        names: of every tenant, in the plan's order.
        coloured: those with a colour of their own, at most `COLOURED`, in the plan's order.
        noisy: the one that presses while fairness is measured; empty where nobody knows.
    """

    names: tuple[str, ...]
    coloured: tuple[str, ...]
    noisy: str = ""

    @property
    def others(self) -> tuple[str, ...]:
        """Tenants that share one colour, in the plan's order."""
        return tuple(name for name in self.names if name not in self.coloured)

    @property
    def others_words(self) -> str:
        """How the tenants without a colour of their own are called together."""
        return f"{len(self.others)} other tenants" if len(self.others) != 1 else f"tenant {self.others[0]}"

    def colour(self, name: str) -> str:
        """The colour role of a tenant in a drawing."""
        return TENANT_COLOURS[self.coloured.index(name)] if name in self.coloured else TENANT_OTHER

    def swatch(self, name: str) -> str:
        """The CSS class of a tenant's swatch; never made of its name."""
        return f"tenant-{self.coloured.index(name)}" if name in self.coloured else "tenant-other"

    def legend(self) -> list[tuple[str, str]]:
        """Swatches and words: every coloured tenant, and the others as one."""
        shown = [
            (self.swatch(name), f"tenant {name}{', the noisy one' if name == self.noisy else ''}")
            for name in self.coloured
        ]
        return [*shown, ("tenant-other", self.others_words)] if self.others else shown


def tenant_key(names: Iterable[str], *, noisy: str = "", importance: Mapping[str, float] | None = None) -> TenantKey:
    """Gives colours: to every tenant where there are enough, else to the noisy one and to the most important.

    Args:
        names: of every tenant, in the plan's order.
        noisy: the one that presses while fairness is measured.
        importance: the larger, the sooner a tenant gets a colour; one that is absent comes last, in the plan's order.
    """
    known = tuple(dict.fromkeys(names))
    rank = importance or {}
    by_rank = sorted(known, key=lambda name: (name != noisy, -rank.get(name, -1.0)))
    chosen = set(by_rank[:COLOURED])
    return TenantKey(names=known, coloured=tuple(name for name in known if name in chosen), noisy=noisy)


def label_beside(names: Sequence[str], *, most: int) -> bool:
    """Whether every one of the names is short enough (characters) to stand beside what is drawn."""
    return max(map(len, names), default=0) <= most
