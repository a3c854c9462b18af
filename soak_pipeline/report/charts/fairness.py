"""Fairness: each quiet tenant's p99 before and during the burst, the ratio with its interval, and every pair.

Owns these drawings. Never computes a ratio: all figures are those of `comparison.json`.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    Margins,
    limit_line,
    panel,
    tenant_colour,
    to_svg,
    whole_ticks,
    y_title,
)
from soak_pipeline.report.charts.chart import Chart, TableRow
from soak_pipeline.report.quantities import interval_text, number, quantity

_TONES = {"PASS": "", "OPEN": "open", "FAIL": "fail"}
_NOTES = {
    FairnessOrder.ABBA: "Diamond: mean over the pairs; bar: its interval; dots: single pairs.",
    FairnessOrder.CLASSIC: "One long baseline, then one long burst (classic order). Diamond: mean over sub-windows; "
    "bar: its interval.",
}
_ROWS = Margins(left=66.0, right=16.0, top=20.0)


def fairness_charts(comparison: FairnessDocument | None) -> list[Chart]:
    """Ratio with interval, before and after, and the pairs of the tenant that fared worst; none without figures."""
    if comparison is None:
        return []
    tenants = [tenant for tenant in comparison.tenants if tenant.ratio is not None]
    order = FairnessOrder(comparison.order)
    charts = [_ratios(tenants, comparison.limit, order)] if tenants else []
    with_p99 = [tenant for tenant in tenants if tenant.latency_ms_p99_baseline and tenant.latency_ms_p99_burst]
    charts += [_before_after(with_p99)] if with_p99 else []
    worst = max(tenants, key=lambda tenant: tenant.ratio or 0.0, default=None)
    if order == FairnessOrder.ABBA and worst is not None and _drawn(worst):
        charts.append(_pairs(worst, comparison.limit))
    return charts


def _ratios(tenants: Sequence[TenantFairness], limit: float, order: FairnessOrder) -> Chart:
    canvas, axes = panel(margins=_ROWS)
    shown = [limit, 1.0]
    for place, tenant in enumerate(tenants):
        colour = tenant_colour(tenant.tenant)
        pairs = [pair.ratio for pair in tenant.pairs if pair.ratio is not None and order == FairnessOrder.ABBA]
        axes.plot(pairs, np.full(len(pairs), place + 0.24), "o", color=colour, markersize=3.2, alpha=0.4)
        ratio = tenant.ratio or 0.0
        low = tenant.lower if tenant.lower is not None else ratio
        high = tenant.upper if tenant.upper is not None else ratio
        axes.plot([low, high], [place, place], color=colour, linewidth=3.0, solid_capstyle="round")
        axes.plot([ratio], [place], "D", color=colour, markersize=6)
        shown += [low, high, *pairs]
    axes.set_ylim(len(tenants) - 0.4, -0.6)
    axes.set_xlim(min(0.9, min(shown) - 0.02), max(1.3, max(shown) + 0.04))
    _tenant_rows(axes, [tenant.tenant for tenant in tenants])
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
        summary="; ".join(_ratio_words(tenant) for tenant in tenants) + f"; limit {limit:.2f}x.",
        svg=to_svg(canvas, "fairness-ratio"),
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
        note=_NOTES[order],
        tone=_TONES[max((tenant.decision for tenant in tenants), key=list(_TONES).index)],
    )


def _ratio_words(tenant: TenantFairness) -> str:
    between = interval_text((tenant.lower, tenant.upper), "ratio")
    return f"tenant {tenant.tenant} {quantity(tenant.ratio, 'ratio')}" + (f" ({between})" if between else "")


def _before_after(tenants: Sequence[TenantFairness]) -> Chart:
    canvas, axes = panel(margins=_ROWS)
    highest = 0.0
    for place, tenant in enumerate(tenants):
        colour = tenant_colour(tenant.tenant)
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
    axes.set_ylim(len(tenants) - 0.4, -0.6)
    axes.set_xlim(0, highest * 1.45)
    _tenant_rows(axes, [tenant.tenant for tenant in tenants])
    axes.grid(axis="x", color=GRID, linewidth=1.0)
    axes.xaxis.set_major_formatter("{x:,.0f} ms")
    whole_ticks(axes, x=4)
    return Chart(
        key="fairness-before-after",
        title="p99 before and during the burst",
        summary="; ".join(
            f"tenant {tenant.tenant} {quantity(tenant.latency_ms_p99_baseline, 'ms')} before, "
            f"{quantity(tenant.latency_ms_p99_burst, 'ms')} during"
            for tenant in tenants
        )
        + ".",
        svg=to_svg(canvas, "fairness-before-after"),
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
        note="Ring: baseline; dot: burst. Executed calls, from the intended start.",
    )


def _pairs(tenant: TenantFairness, limit: float) -> Chart:
    canvas, axes = panel()
    pairs = _drawn(tenant)
    ratios = [pair.ratio or 0.0 for pair in pairs]
    colour = tenant_colour(tenant.tenant)
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
    key = "fairness-pairs"
    return Chart(
        key=key,
        title=f"Every pair of tenant {tenant.tenant}, the one that fared worst",
        summary=f"Ratios of {len(pairs)} pairs of windows in the order of the run, between "
        f"{quantity(min(ratios), 'ratio')} and {quantity(max(ratios), 'ratio')}.",
        svg=to_svg(canvas, key, axes),
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


def _tenant_rows(axes: Axes, tenants: Sequence[str]) -> None:
    axes.set_yticks(range(len(tenants)), [f"tenant {tenant}" for tenant in tenants])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False, axis="y")
