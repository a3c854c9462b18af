"""Fairness: each quiet tenant's p99 before and during the burst, the ratio with its interval, and every pair.

Owns these drawings. Never computes a ratio: all figures are those of `comparison.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from soak_pipeline.model.documents import FairnessDocument, FairnessPair, TenantFairness
from soak_pipeline.model.profile import FairnessOrder
from soak_pipeline.report.charts.canvas import (
    FONT_PX,
    GRID,
    INK,
    LIMIT,
    MUTED,
    Canvas,
    Margins,
    limit_line,
    panel,
    to_svg,
    whole_ticks,
    y_title,
)
from soak_pipeline.report.charts.chart import Chart, TableRow
from soak_pipeline.report.quantities import interval_text, number, quantity
from soak_pipeline.report.tenant_key import COLOURED, TenantKey, label_beside

_TONES = {"PASS": "", "OPEN": "open", "FAIL": "fail"}
_NOTES = {
    FairnessOrder.ABBA: "Diamond: mean over the pairs; bar: its interval; dots: single pairs.",
    FairnessOrder.CLASSIC: "One long baseline, then one long burst (classic order). Diamond: mean over sub-windows; "
    "bar: its interval.",
}
ROWS = 12
"""Tenants that are drawn below each other where there are more than have a colour: those that fared worst."""
LABEL_CHARS = 8
"""Longest name that is written to the left of its row; a longer one stands above it."""


def fairness_charts(comparison: FairnessDocument | None, key: TenantKey) -> list[Chart]:
    """Ratio with interval, before and after, and the pairs of the tenant that fared worst; none without figures.

    Args:
        comparison: the run's figures of fairness.
        key: its tenants and their colours.
    """
    if comparison is None:
        return []
    tenants = [tenant for tenant in comparison.tenants if tenant.ratio is not None]
    order = FairnessOrder(comparison.order)
    charts = [_ratios(tenants, key, comparison, order)] if tenants else []
    with_p99 = [tenant for tenant in tenants if tenant.latency_ms_p99_baseline and tenant.latency_ms_p99_burst]
    charts += [_before_after(with_p99, key)] if with_p99 else []
    worst = max(tenants, key=lambda tenant: tenant.ratio or 0.0, default=None)
    if order == FairnessOrder.ABBA and worst is not None and _drawn(worst):
        charts.append(_pairs(worst, key, comparison.limit_of(worst)))
    return charts


def _worst(tenants: Sequence[TenantFairness]) -> Sequence[TenantFairness]:
    """Every tenant where there are few, else those that fared worst, the worst first."""
    if len(tenants) <= COLOURED:
        return tenants
    return sorted(tenants, key=lambda tenant: -(tenant.ratio or 0.0))[:ROWS]


def _left_out(tenants: Sequence[TenantFairness], shown: Sequence[TenantFairness], before: str = "") -> str:
    """A sentence about the tenants that are not drawn; nothing where all are."""
    left = len(tenants) - len(shown)
    return f"{before}The {len(shown)} tenants that fared worst; {left} more in the numbers." if left else ""


@dataclass(frozen=True, slots=True)
class _Rows:
    """A drawing with one row per tenant, and how far below the middle of its row a tenant's data is drawn."""

    canvas: Canvas
    axes: Axes
    below: float


def _rows(names: Sequence[str]) -> _Rows:
    """Rows from the top down, each with its tenant's name: to the left, or above what is drawn where one is long."""
    is_beside = label_beside(names, most=LABEL_CHARS)
    words = [f"tenant {name}" if max(map(len, names)) <= 2 else name for name in names]
    height = max(190.0, 46.0 + (20.0 if is_beside else 40.0) * len(names))
    margins = Margins(left=max(66.0, 14.0 + 6.2 * max(map(len, words))) if is_beside else 14.0, right=16.0)
    canvas, axes = panel(height=height, margins=margins)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), words if is_beside else [""] * len(names))
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False, axis="y")
    for place, word in enumerate(() if is_beside else words):
        axes.annotate(
            word, (0, place - 0.28), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=FONT_PX, color=INK,
        )  # fmt: skip
    return _Rows(canvas, axes, 0.0 if is_beside else 0.08)


def _ratios(
    tenants: Sequence[TenantFairness], key: TenantKey, comparison: FairnessDocument, order: FairnessOrder
) -> Chart:
    limit = comparison.limit
    worst = _worst(tenants)
    rows = _rows([tenant.tenant for tenant in worst])
    axes = rows.axes
    shown = [limit, 1.0]
    for row, tenant in enumerate(worst):
        place, colour = row + rows.below, key.colour(tenant.tenant)
        pairs = [pair.ratio for pair in tenant.pairs if pair.ratio is not None and order == FairnessOrder.ABBA]
        axes.plot(
            pairs,
            np.full(len(pairs), place + (0.16 if rows.below else 0.24)),
            "o",
            color=colour,
            markersize=3.2,
            alpha=0.4,
        )
        ratio = tenant.ratio or 0.0
        low = tenant.lower if tenant.lower is not None else ratio
        high = tenant.upper if tenant.upper is not None else ratio
        axes.plot([low, high], [place, place], color=colour, linewidth=3.0, solid_capstyle="round")
        axes.plot([ratio], [place], "D", color=colour, markersize=6)
        own = comparison.limit_of(tenant)
        if own != limit:
            axes.plot([own], [place], "|", color=LIMIT, markersize=16)
            shown.append(own)
        shown += [low, high, *pairs]
    axes.set_xlim(min(0.9, min(shown) - 0.02), max(1.3, max(shown) + 0.04))
    axes.axvline(1.0, color=GRID, linewidth=1.2)
    axes.axvline(limit, color=LIMIT, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.annotate(
        f"limit {limit:.2f}x", (limit, 1), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="center", va="bottom", fontsize=FONT_PX, color=LIMIT,
    )  # fmt: skip
    axes.xaxis.set_major_formatter("{x:.2f}x")
    whole_ticks(axes, x=5)
    return Chart(
        key="fairness-ratio",
        title="p99 in the burst over p99 in the baseline",
        summary="; ".join(_ratio_words(tenant) for tenant in worst)
        + f"; limit {limit:.2f}x.{_left_out(tenants, worst, ' ')}",
        svg=to_svg(rows.canvas, "fairness-ratio"),
        header=("tenant", "ratio", "interval", "pairs", "decision"),
        rows=[
            TableRow(
                (
                    tenant.tenant,
                    quantity(tenant.ratio, "ratio"),
                    interval_text((tenant.lower, tenant.upper), "ratio"),
                    f"{len(_drawn(tenant))}",
                    tenant.decision,
                )
            )
            for tenant in tenants
        ],
        note=_NOTES[order] + _left_out(tenants, worst, " "),
        tone=_TONES[max((tenant.decision for tenant in tenants), key=list(_TONES).index)],
    )


def _ratio_words(tenant: TenantFairness) -> str:
    between = interval_text((tenant.lower, tenant.upper), "ratio")
    return f"tenant {tenant.tenant} {quantity(tenant.ratio, 'ratio')}" + (f" ({between})" if between else "")


def _before_after(tenants: Sequence[TenantFairness], key: TenantKey) -> Chart:
    worst = _worst(tenants)
    rows = _rows([tenant.tenant for tenant in worst])
    axes = rows.axes
    highest = 0.0
    for row, tenant in enumerate(worst):
        place, colour = row + rows.below, key.colour(tenant.tenant)
        before, after = tenant.latency_ms_p99_baseline or 0.0, tenant.latency_ms_p99_burst or 0.0
        axes.plot([before, after], [place, place], color=colour, linewidth=2.0)
        axes.plot(
            [before], [place], "o", markerfacecolor="none", markeredgecolor=colour, markersize=7, markeredgewidth=2
        )
        axes.plot([after], [place], "o", color=colour, markersize=8)
        axes.annotate(
            f"{number(round(before, 1))} → {number(round(after, 1))}", (max(before, after), place), (9, 0),
            textcoords="offset points", va="center", fontsize=FONT_PX, color=INK,
        )  # fmt: skip
        highest = max(highest, before, after)
    axes.set_xlim(0, highest * 1.45)
    axes.grid(axis="x", color=GRID, linewidth=1.0)
    axes.xaxis.set_major_formatter("{x:,.0f} ms")
    whole_ticks(axes, x=4)
    return Chart(
        key="fairness-before-after",
        title="p99 before and during the burst",
        summary="; ".join(
            f"tenant {tenant.tenant} {quantity(tenant.latency_ms_p99_baseline, 'ms')} before, "
            f"{quantity(tenant.latency_ms_p99_burst, 'ms')} during"
            for tenant in worst
        )
        + f".{_left_out(tenants, worst, ' ')}",
        svg=to_svg(rows.canvas, "fairness-before-after"),
        header=("tenant", "p99 before ms", "p99 during ms", "errors before", "errors during"),
        rows=[
            TableRow(
                (
                    tenant.tenant,
                    quantity(tenant.latency_ms_p99_baseline),
                    quantity(tenant.latency_ms_p99_burst),
                    quantity(tenant.baseline.error_share, "share"),
                    quantity(tenant.burst.error_share, "share"),
                )
            )
            for tenant in tenants
        ],
        note="Ring: baseline; dot: burst. Executed calls, from the intended start." + _left_out(tenants, worst, " "),
    )


def _pairs(tenant: TenantFairness, key: TenantKey, limit: float) -> Chart:
    canvas, axes = panel()
    pairs = _drawn(tenant)
    ratios = [pair.ratio or 0.0 for pair in pairs]
    colour = key.colour(tenant.tenant)
    numbers = [pair.pair for pair in pairs]
    axes.vlines(numbers, 1.0, ratios, color=colour, linewidth=2.0)
    axes.plot(numbers, ratios, "o", color=colour, markersize=6)
    axes.axhline(1.0, color=MUTED, linewidth=0.8)
    axes.set_xlim(min(numbers) - 0.6, max(numbers) + 0.6)
    low, high = min(0.9, *ratios), max(limit, *ratios)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.15 * (high - low))
    limit_line(axes, limit, f"limit {limit:.2f}x")
    axes.yaxis.set_major_formatter("{x:.2f}")
    whole_ticks(axes, x=8, y=4)
    y_title(axes, "ratio")
    identifier = "fairness-pairs"
    return Chart(
        key=identifier,
        title=f"Every pair of tenant {tenant.tenant}, the one that fared worst",
        summary=f"Ratios of {len(pairs)} pairs of windows in the order of the run, between "
        f"{quantity(min(ratios), 'ratio')} and {quantity(max(ratios), 'ratio')}.",
        svg=to_svg(canvas, identifier, axes),
        header=("pair", "first window", "p99 baseline ms", "p99 burst ms", "ratio"),
        rows=[
            TableRow(
                (
                    f"{pair.pair}",
                    pair.first,
                    quantity(pair.latency_ms_p99_baseline),
                    quantity(pair.latency_ms_p99_burst),
                    quantity(pair.ratio, "ratio"),
                ),
                float(pair.pair),
            )
            for pair in pairs
        ],
        note="A drift of the platform over the run would show as a slope.",
    )


def _drawn(tenant: TenantFairness) -> list[FairnessPair]:
    return [pair for pair in tenant.pairs if pair.ratio is not None]
