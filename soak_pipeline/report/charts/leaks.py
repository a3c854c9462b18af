"""Leak series: each resource of each process over the soak, with its trend and where that leads by the horizon.

Owns these drawings. Never fits a trend: slopes and projections are the figures of the criterion's findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from soak_pipeline.evidence.telemetry import Series, SeriesKey
from soak_pipeline.model.series import LEAK_SERIES, PROCESS_START_SERIES, Source
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict
from soak_pipeline.report.charts.bins import Floats
from soak_pipeline.report.charts.canvas import (
    BAD,
    FONT_PX,
    GRID,
    INK,
    MUTED,
    Margins,
    new_canvas,
    time_unit,
    to_svg,
    whole_ticks,
    x_unit,
    y_title,
)
from soak_pipeline.report.charts.chart import Chart, TableRow
from soak_pipeline.report.course import Course
from soak_pipeline.report.quantities import duration, number, quantity
from soak_pipeline.report.text import one_line

LEAK_CRITERION = "nothing_leaks"
PANELS = 24
"""Series that are drawn, the most telling first; the criterion's table has all of them."""

_POINTS = 120
_SOURCES = (Source.PLATFORM, Source.DATABASE, Source.REDIS)
"""Growth of the load generator is not the platform's."""
_HEIGHT, _HORIZON_TOP, _HORIZON_HEIGHT = 226.0, 186.0, 34.0
"""Of a chart with the bar below it that shows the horizon, in pixels."""
_SCALES = ((1_024.0**3, "GiB"), (1_024.0**2, "MiB"), (1_024.0, "KiB"))
_TONES = {Verdict.FAIL: "fail", Verdict.INCONCLUSIVE: "open", Verdict.PASS: ""}
_ORDER = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One series with the finding that judged it; None when it was not asked."""

    key: SeriesKey
    series: Series
    finding: Finding | None

    @property
    def subject(self) -> str:
        return f"{self.key.owner} {self.key.series}"

    @property
    def movement(self) -> float:
        """Spread over the level: how much there is to see."""
        values = self.series.values[np.isfinite(self.series.values)]
        return float(np.ptp(values)) / max(abs(float(np.median(values))), 1.0)


def leak_charts(course: Course, criteria: Sequence[CriterionResult], horizon_h: float) -> list[Chart]:
    """A chart per series that moved or that a finding is about, troubled ones first; constant series are left out.

    Args:
        course: of the run.
        criteria: results, for the findings about leaks.
        horizon_h: how far a trend is followed (hours).
    """
    if course.soak is None:
        return []
    result = next((result for result in criteria if result.name == LEAK_CRITERION), None)
    findings = {finding.subject: finding for finding in result.findings} if result is not None else {}
    drawn = []
    for key, series in course.telemetry.items():
        if key.series not in LEAK_SERIES or key.source not in _SOURCES:
            continue
        inside = series.between(course.soak.start_s, course.soak.end_s)
        if np.isfinite(inside.values).sum() < 2:
            continue
        drawn.append(_Drawn(key, inside, findings.get(f"{key.owner} {key.series}")))
    telling = [item for item in drawn if item.movement > 0 or _troubled(item)]
    telling.sort(key=lambda item: (_ORDER[item.finding.verdict] if item.finding else 3, -item.movement, item.subject))
    restarts = _restart_times(course)
    return [
        _chart(index, item, course.soak.start_s, restarts.get(item.key.owner, ()), horizon_h)
        for index, item in enumerate(telling[:PANELS])
    ]


def _troubled(item: _Drawn) -> bool:
    return item.finding is not None and item.finding.verdict is not Verdict.PASS


def _restart_times(course: Course) -> dict[str, tuple[float, ...]]:
    times = {}
    for key, series in course.telemetry.items():
        if key.series == PROCESS_START_SERIES:
            known = np.isfinite(series.values)
            changes = np.flatnonzero(np.abs(np.diff(series.values[known])) > 1.0) + 1
            times[key.owner] = tuple(float(time) for time in series.times_s[known][changes])
    return times


def _chart(index: int, item: _Drawn, start_s: float, restarts: Sequence[float], horizon_h: float) -> Chart:
    known = np.isfinite(item.series.values)
    into_s, values = item.series.times_s[known] - start_s, item.series.values[known]
    clock = time_unit(float(into_s[-1]))
    times = into_s / clock.seconds
    scale, unit = _scale(item.key.series, values)
    troubled = item.finding is not None and item.finding.verdict is Verdict.FAIL
    judged = item.finding is not None and item.finding.observed is not None
    canvas = new_canvas(340.0, _HEIGHT if judged else _HEIGHT - _HORIZON_HEIGHT)
    axes = canvas.axes(20.0, 132.0, Margins())
    axes.plot(times, values / scale, color=MUTED, linewidth=1.0)
    trend = _trend(item.finding, into_s, values)
    if trend is not None:
        axes.plot(times[[0, -1]], trend / scale, color=BAD if troubled else INK, linewidth=2.0, linestyle=(0, (6, 3)))
    for time_s in restarts:
        axes.axvline((time_s - start_s) / clock.seconds, color=BAD, linewidth=1.0)
    axes.set_ylim(*_y_range(values / scale))
    axes.set_xlim(float(times[0]), max(float(times[-1]), float(times[0]) + 1e-6))
    whole_ticks(axes, x=5, y=4)
    y_title(axes, unit)
    x_unit(axes, clock.name)
    if item.finding is not None and judged:
        _draw_horizon(canvas.axes(_HORIZON_TOP, _HORIZON_HEIGHT, Margins()), item.finding, horizon_h)
    key = f"leak-{index}"
    return Chart(
        key=key,
        title=f"{one_line(item.key.owner)}: {LEAK_SERIES[item.key.series].resource}",
        summary=_summary(item, values, unit, scale),
        svg=to_svg(canvas, key, axes),
        header=("into the soak", f"{item.key.series} ({unit or 'count'})"),
        rows=_rows(into_s, clock.seconds, values / scale),
        note=_note(item.finding),
        tone=_TONES[item.finding.verdict] if item.finding is not None else "",
    )


def _y_range(values: Floats) -> tuple[float, float]:
    """At least a tenth of the level, so that mere noise does not look like a mountain."""
    low, high = float(values.min()), float(values.max())
    # A series that is zero throughout has neither spread nor level.
    spread = max(high - low, 0.1 * abs(float(np.median(values)))) or 1.0
    middle = (low + high) / 2.0
    bottom = middle - 0.65 * spread
    return (max(bottom, 0.0) if low >= 0 else bottom), middle + 0.7 * spread


def _draw_horizon(axes: Axes, finding: Finding, horizon_h: float) -> None:
    """How much of the headroom the trend takes by the horizon: a bar from 0 to the headroom, the interval across it."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    low, high = finding.interval or (None, None)
    headroom = None if finding.limit is None else finding.limit.value

    def place(value: float | None) -> float:
        return min(max((value or 0.0) / headroom, 0.0), 1.0) if headroom else 0.0

    colour = BAD if finding.verdict is Verdict.FAIL else INK
    axes.broken_barh([(0, 1)], (0.0, 0.22), color=GRID, linewidth=0)
    axes.broken_barh([(0, place(finding.observed))], (0.0, 0.22), color=colour, linewidth=0)
    axes.plot([place(low), place(high)], [0.11, 0.11], color=MUTED, linewidth=2.0, solid_capstyle="butt")
    grown, allowed = quantity(finding.observed, finding.unit), quantity(headroom, finding.unit)
    words = f"in {number(horizon_h)} h {grown} of {allowed}"
    axes.annotate(
        words, (0, 0.3), (0, 3), textcoords="offset points", fontsize=FONT_PX, color=colour if colour == BAD else MUTED,
    )  # fmt: skip


def _scale(series: str, values: Floats) -> tuple[float, str]:
    unit = LEAK_SERIES[series].unit
    if unit != "bytes":
        return 1.0, "" if unit == "count" else unit
    largest = float(np.abs(values).max())
    return next(((size, name) for size, name in _SCALES if largest >= size), (1.0, "B"))


def _trend(finding: Finding | None, times_s: Floats, values: Floats) -> Floats | None:
    """The criterion's slope as a line through the middle of the series; None without a slope."""
    slope = slope_per_hour(finding)
    if slope is None or len(times_s) < 2:
        return None
    ends = times_s[[0, -1]] / 3_600.0
    middle = float(np.median(times_s)) / 3_600.0
    line: Floats = float(np.median(values)) + slope * (ends - middle)
    return line


def slope_per_hour(finding: Finding | None) -> float | None:
    """The fitted slope of a leak finding, in the series' unit per hour; None where nothing was fitted."""
    if finding is None:
        return None
    for name, value in finding.figures.items():
        if name.endswith("slope_per_hour") and isinstance(value, int | float) and np.isfinite(value):
            return float(value)
    return None


def _summary(item: _Drawn, values: Floats, unit: str, scale: float) -> str:
    first, last = float(values[0]) / scale, float(values[-1]) / scale
    words = f"{item.key.owner} {item.key.series}: {number(first)} to {number(last)} {unit}".rstrip()
    return f"{words}; {item.finding.why}" if item.finding is not None else f"{words}; not judged."


def _note(finding: Finding | None) -> str:
    """What a finding that is not PASS says; the section says when nothing was judged."""
    return one_line(finding.why) if finding is not None and finding.verdict is not Verdict.PASS else ""


def _rows(times_s: Floats, unit_s: float, values: Floats) -> list[TableRow]:
    picked = np.unique(np.linspace(0, len(times_s) - 1, min(len(times_s), _POINTS)).round().astype(int))
    return [
        TableRow((duration(float(times_s[at])), number(float(values[at]))), float(times_s[at]) / unit_s)
        for at in picked
    ]
