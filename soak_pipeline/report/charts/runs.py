"""A figure over the stored runs: one point per run, one line per tenant.

Owns this drawing. Never compares runs: the points stand side by side for a person to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soak_pipeline.model.plan import started_at
from soak_pipeline.report.charts.canvas import (
    ACCENT,
    BAD,
    FONT_PX,
    INK,
    WARN,
    panel,
    to_svg,
    whole_ticks,
    y_title,
)
from soak_pipeline.report.charts.chart import Chart, TableRow
from soak_pipeline.report.quantities import number, quantity
from soak_pipeline.report.tenant_key import TenantKey

_VERDICT_COLOURS = {"FAIL": BAD, "INCONCLUSIVE": WARN}
_MEBIBYTE = 1_024.0**2
_FEWEST_RUNS = 2
"""One point is no course."""
_DATES = 6


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure per run.

    Attributes:
        title: a few words.
        unit: as in `quantities`.
        lines: per line one value per run; None where it was not measured. A line is named after its tenant, or in words
            where it is of several; the only line of a figure that no tenant has is named by an empty text.
    """

    title: str
    unit: str
    lines: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A change of level: the number (from 0) of the first run after it, and both levels in the figure's unit."""

    run: int
    before: float
    after: float


def trend_chart(
    key: str,
    trend: Trend,
    tenants: TenantKey,
    run_ids: Sequence[str],
    verdicts: Sequence[str],
    marks: Sequence[Mark] = (),
) -> Chart | None:
    """The figure over the runs, oldest on the left; None where fewer than two runs have it.

    Args:
        key: of the chart in the page.
        trend: what is drawn.
        tenants: the tenants of the runs and their colours.
        run_ids, verdicts: of the runs; bands mark those that did not pass.
        marks: changes of level, which are drawn.
    """
    scale, unit = (_MEBIBYTE, "MiB/h") if trend.unit == "bytes_per_hour" else (1.0, trend.unit)
    lines = {
        name: np.array([np.nan if value is None else value / scale for value in values], dtype=np.float64)
        for name, values in trend.lines.items()
    }
    known = [float(value) for line in lines.values() for value in line if np.isfinite(value)]
    if max((int(np.isfinite(line).sum()) for line in lines.values()), default=0) < _FEWEST_RUNS:
        return None
    canvas, axes = panel(440.0, 200.0)
    size = 4.0 if len(run_ids) <= 30 else 2.0
    places = np.arange(1, len(run_ids) + 1)
    for name, line in lines.items():
        axes.plot(places, line, "o-", color=tenants.colour(name) if name else ACCENT, linewidth=1.5, markersize=size)
    low, high = min(0.0, *known), max(known)
    axes.set_ylim(low - 0.08 * (high - low or 1.0), high + 0.15 * (high - low or 1.0))
    axes.set_xlim(0.5, len(run_ids) + 0.5)
    for place, verdict in zip(places, verdicts, strict=True):
        if verdict in _VERDICT_COLOURS:
            axes.axvline(float(place), color=_VERDICT_COLOURS[verdict], linewidth=4.0, alpha=0.25)
    for mark in marks:
        axes.axvline(mark.run + 0.5, color=INK, linewidth=1.2, linestyle=(0, (1, 2)))
        axes.annotate(
            f"{number(mark.before / scale)} → {number(mark.after / scale)}", (mark.run + 0.5, 1), (0, 4),
            xycoords=("data", "axes fraction"), textcoords="offset points", ha="center", va="bottom",
            fontsize=FONT_PX, color=INK,
        )  # fmt: skip
    whole_ticks(axes, y=4)
    picked = np.unique(np.linspace(0, len(run_ids) - 1, min(len(run_ids), _DATES)).round().astype(int))
    axes.set_xticks([float(places[at]) for at in picked], _moments([run_ids[at] for at in picked]))
    y_title(axes, "" if unit == "ratio" else unit)
    newest = {name: values[-1] for name, values in trend.lines.items()}
    figures = ", ".join(f"{name} {quantity(value, trend.unit)}".strip() for name, value in newest.items())
    return Chart(
        key=key,
        title=trend.title,
        summary=f"{trend.title} over {len(run_ids)} runs; in the newest: {figures}.",
        svg=to_svg(canvas, key, axes),
        header=(
            "run",
            "verdict",
            *(f"tenant {name}" if name in tenants.names else name or "all" for name in trend.lines),
        ),
        rows=[
            TableRow(
                (run_id, verdict, *(quantity(values[at], trend.unit) for values in trend.lines.values())),
                float(places[at]),
            )
            for at, (run_id, verdict) in enumerate(zip(run_ids, verdicts, strict=True))
        ],
        note=" ".join([*(_mark_words(mark, run_ids, trend.unit) for mark in marks), "Bands: runs that did not pass."]),
    )


def _mark_words(mark: Mark, run_ids: Sequence[str], unit: str) -> str:
    levels = f"from {quantity(mark.before, unit)} to {quantity(mark.after, unit)}"
    return f"Dotted: the level went {levels} with run {run_ids[mark.run]}."


def _moments(run_ids: Sequence[str]) -> list[str]:
    """When runs began: the day as `23 Nov`, and of further runs of the same day the time (UTC) as `07:30`."""
    starts = [started_at(run_id) for run_id in run_ids]
    return [
        f"{start:%H:%M}" if at and start.date() == starts[at - 1].date() else f"{start:%-d %b}"
        for at, start in enumerate(starts)
    ]
