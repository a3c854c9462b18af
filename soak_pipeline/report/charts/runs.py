"""A figure over the stored runs: one point per run, one line per tenant.

Owns this drawing. Never compares runs: the points stand side by side for a person to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soak_pipeline.report.charts.canvas import ACCENT, BAD, WARN, panel, tenant_colour, to_svg, whole_ticks, y_title
from soak_pipeline.report.charts.chart import Chart, TableRow
from soak_pipeline.report.quantities import quantity

_VERDICT_COLOURS = {"FAIL": BAD, "INCONCLUSIVE": WARN}
_MEBIBYTE = 1_024.0**2


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure per run.

    Attributes:
        title: a few words.
        unit: as in `quantities`.
        lines: per tenant (or an empty name) one value per run; None where it was not measured.
    """

    title: str
    unit: str
    lines: Mapping[str, Sequence[float | None]]


def trend_chart(key: str, trend: Trend, run_ids: Sequence[str], verdicts: Sequence[str]) -> Chart | None:
    """The figure over the runs, oldest on the left; None where no run has it.

    Args:
        key: of the chart in the page.
        trend: what is drawn.
        run_ids, verdicts: of the runs; runs that did not pass are marked below the axis.
    """
    scale, unit = (_MEBIBYTE, "MiB/h") if trend.unit == "bytes_per_hour" else (1.0, trend.unit)
    lines = {
        name: np.array([np.nan if value is None else value / scale for value in values], dtype=np.float64)
        for name, values in trend.lines.items()
    }
    known = [float(value) for line in lines.values() for value in line if np.isfinite(value)]
    if not known:
        return None
    canvas, axes = panel()
    places = np.arange(1, len(run_ids) + 1)
    for name, line in lines.items():
        axes.plot(places, line, "o-", color=tenant_colour(name) if name else ACCENT, linewidth=1.5, markersize=4)
    low, high = min(0.0, *known), max(known)
    axes.set_ylim(low - 0.08 * (high - low or 1.0), high + 0.15 * (high - low or 1.0))
    axes.set_xlim(0.5, len(run_ids) + 0.5)
    for place, verdict in zip(places, verdicts, strict=True):
        if verdict in _VERDICT_COLOURS:
            axes.axvline(float(place), color=_VERDICT_COLOURS[verdict], linewidth=4.0, alpha=0.25)
    whole_ticks(axes, x=6, y=4)
    y_title(axes, "" if unit == "ratio" else unit)
    newest = {name: values[-1] for name, values in trend.lines.items()}
    figures = ", ".join(f"{name} {quantity(value, trend.unit)}".strip() for name, value in newest.items())
    return Chart(
        key=key,
        title=trend.title,
        summary=f"{trend.title} over {len(run_ids)} runs; in the newest: {figures}.",
        svg=to_svg(canvas, key, axes),
        header=("run", "verdict", *(f"tenant {name}" if name else "all" for name in trend.lines)),
        rows=[
            TableRow(
                (run_id, verdict, *(quantity(values[at], trend.unit) for values in trend.lines.values())),
                float(places[at]),
            )
            for at, (run_id, verdict) in enumerate(zip(run_ids, verdicts, strict=True))
        ],
        note="Bands mark runs that did not pass.",
    )
