"""The run at a glance: phases and events, requests per second by tenant against the plan, errors.

Owns one drawing with one time axis. Never judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import overload

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.traffic import Outcome, Phase
from soak_pipeline.report.charts.bins import Bins, bins_for, counts_by_bin
from soak_pipeline.report.charts.canvas import (
    ACCENT,
    BAD,
    FONT_PX,
    GRID,
    INK,
    MUTED,
    Canvas,
    Margins,
    TimeUnit,
    new_canvas,
    time_unit,
    to_svg,
    whole_ticks,
    x_unit,
    y_title,
)
from soak_pipeline.report.charts.chart import Chart, TableRow
from soak_pipeline.report.course import Course, Stretch
from soak_pipeline.report.quantities import duration, number
from soak_pipeline.report.tenant_key import TenantKey

Rates = Mapping[str, NDArray[np.float64]]
PHASE_STYLES: Mapping[str, tuple[str, float]] = {
    Phase.WARMUP: (GRID, 1.0),
    "drain": (GRID, 1.0),
    Phase.BASELINE: (ACCENT, 0.35),
}
"""Colour and opacity by phase; every other phase is load that is judged, in full colour."""
_EVENTS_DRAWN = 12


@dataclass(frozen=True, slots=True)
class _Clock:
    """Where a time stands on the axis: from the first request, in the axis' unit."""

    begin_s: float
    unit: TimeUnit

    @overload
    def at(self, time_s: float) -> float: ...
    @overload
    def at(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def at(self, time_s: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
        return (time_s - self.begin_s) / self.unit.seconds


def run_chart(course: Course, key: TenantKey) -> Chart | None:
    """Phases, throughput and errors over the whole run; None without request records.

    Tenants without a colour of their own are drawn as one.
    """
    requests = course.requests
    if requests is None:
        return None
    starts_s = requests.columns["start_us"].astype(np.float64) / 1e6
    begin_s = float(starts_s.min())
    end_s = max([float(starts_s.max()), *(stretch.end_s for stretch in course.stretches)])
    bins = bins_for(begin_s, end_s, max_bins=180)
    rates = _rates(requests, key, bins, starts_s)
    errors = counts_by_bin(bins, starts_s[~requests.where(outcome=Outcome.OK.value)]).astype(np.float64)
    drawings = {
        name: _draw(course, key, bins, rates, errors, width, name)
        for name, width in (("course-wide", 1080.0), ("course-narrow", 360.0))
    }
    return Chart(
        key="course",
        title="The run at a glance",
        summary=_summary(course, requests, rates, errors, end_s - begin_s),
        svg=drawings["course-wide"],
        svg_narrow=drawings["course-narrow"],
        header=("from the start", "phase", *(f"{tenant} requests/s" for tenant in rates), "errors"),
        rows=_rows(course, bins, rates, errors),
        note=f"Each point counts the requests that were sent in {duration(bins.length_s)}; log-ins included.",
    )


def _rates(requests: RequestTable, key: TenantKey, bins: Bins, starts_s: NDArray[np.float64]) -> Rates:
    """Requests per second of each tenant with a colour, and of the others together under their common name."""
    groups = {name: (name,) for name in key.coloured} | ({key.others_words: key.others} if key.others else {})
    return {
        name: counts_by_bin(bins, starts_s[requests.where(tenant=members)]) / bins.lengths_s
        for name, members in groups.items()
    }


def _draw(
    course: Course, key: TenantKey, bins: Bins, rates: Rates, errors: NDArray[np.float64], width: float, name: str
) -> str:
    errors_px = 46.0 if errors.any() else 16.0
    canvas = new_canvas(width, 276.0 + errors_px)
    margins = Margins(left=44.0, right=14.0)
    clock = _Clock(float(bins.edges_s[0]), time_unit(float(bins.edges_s[-1] - bins.edges_s[0])))
    limits = (0.0, clock.at(float(bins.edges_s[-1])))
    phases = canvas.axes(6.0, 46.0, margins)
    throughput = canvas.axes(82.0, 130.0, margins)
    problems = canvas.axes(236.0, errors_px, margins)
    for axes in (phases, throughput, problems):
        axes.set_xlim(*limits)
        whole_ticks(axes, x=10 if width > 600 else 5)
        if axes is not problems:
            axes.tick_params(labelbottom=False)
    _draw_phases(phases, course, clock, canvas)
    _draw_rates(throughput, course, key, bins, rates, clock)
    _draw_errors(problems, bins, errors, clock)
    x_unit(problems, clock.unit.name)
    return to_svg(canvas, name, problems)


def _draw_phases(axes: Axes, course: Course, clock: _Clock, canvas: Canvas) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    scale = (canvas.width - 58.0) / max(axes.get_xlim()[1], 1e-9)
    for stretch in course.stretches:
        start, length = clock.at(stretch.start_s), clock.at(stretch.end_s) - clock.at(stretch.start_s)
        colour, alpha = PHASE_STYLES.get(stretch.phase, (ACCENT, 1.0))
        axes.broken_barh([(start, length)], (0.0, 0.42), color=colour, alpha=alpha, linewidth=0)
    taken: list[tuple[float, float]] = []
    for words, start_s in _headings(course.stretches):
        left = clock.at(start_s) * scale
        right = left + len(words) * FONT_PX * 0.6 + 6.0
        if all(right <= other_left or left >= other_right for other_left, other_right in taken):
            axes.annotate(
                words, (clock.at(start_s), 0.42), (0, 4), textcoords="offset points", fontsize=FONT_PX, color=MUTED
            )
            taken.append((left, right))
    for event in course.events[:_EVENTS_DRAWN]:
        at = clock.at(event.time_s)
        axes.plot([at], [0.21], marker="v" if event.trouble else "|", color=BAD if event.trouble else INK, markersize=7)


def _headings(stretches: tuple[Stretch, ...]) -> list[tuple[str, float]]:
    """What to write above the phases: each session once, where it begins; the longest first, for they go first."""
    spans: dict[str, tuple[float, float]] = {}
    for stretch in stretches:
        name = stretch.session or stretch.phase
        spans[name] = (spans.get(name, (stretch.start_s, 0.0))[0], stretch.end_s)
    words = {Phase.FANOUT.value: "fan-out"}
    return [
        (words.get(name, name.replace("fairness-", "fairness ")), start_s)
        for name, (start_s, end_s) in sorted(spans.items(), key=lambda span: span[1][0] - span[1][1])
    ]


def _draw_rates(axes: Axes, course: Course, key: TenantKey, bins: Bins, rates: Rates, clock: _Clock) -> None:
    y_title(axes, "req/s")
    edges = np.repeat(clock.at(bins.edges_s), 2)[1:-1]
    below = np.zeros(bins.count * 2)
    for tenant in reversed(list(rates)):
        above = below + np.repeat(rates[tenant], 2)
        axes.fill_between(edges, below, above, color=key.colour(tenant), alpha=0.75, linewidth=0)
        below = above
    for stretch in course.stretches:
        if stretch.planned_requests_per_second is not None:
            axes.plot(
                [clock.at(stretch.start_s), clock.at(stretch.end_s)],
                [stretch.planned_requests_per_second] * 2,
                color=INK,
                linewidth=1.2,
            )
    axes.set_ylim(0, max(float(below.max()), 1.0) * 1.12)
    whole_ticks(axes, y=4)


def _draw_errors(axes: Axes, bins: Bins, errors: NDArray[np.float64], clock: _Clock) -> None:
    y_title(axes, "errors")
    axes.bar(
        clock.at(bins.edges_s[:-1]),
        errors,
        width=bins.lengths_s / clock.unit.seconds,
        align="edge",
        color=BAD,
        linewidth=0,
    )
    axes.set_ylim(0, max(float(errors.max()), 1.0) * 1.1)
    whole_ticks(axes, y=2)
    if not errors.any():
        axes.set_yticks([0])
        axes.annotate(
            "none", (0, 0.5), (6, 0), xycoords="axes fraction", textcoords="offset points", va="center",
            fontsize=FONT_PX, color=MUTED,
        )  # fmt: skip


def _summary(course: Course, requests: RequestTable, rates: Rates, errors: NDArray[np.float64], seconds: float) -> str:
    peak = float(np.sum(list(rates.values()), axis=0).max())
    count = int(errors.sum())
    trouble = [event.text for event in course.events if event.trouble]
    # Longer than from the first request to the last: the drain counts.
    words = f"{len(requests):,} requests, at most {number(round(peak))} per second, in a run of {duration(seconds)}; "
    words += f"{count:,} user-visible errors" if count else "no user-visible error"
    return words + (f"; {'; '.join(trouble[:_EVENTS_DRAWN])}." if trouble else ".")


def _rows(course: Course, bins: Bins, rates: Rates, errors: NDArray[np.float64]) -> list[TableRow]:
    begin_s = float(bins.edges_s[0])
    unit_s = time_unit(float(bins.edges_s[-1]) - begin_s).seconds
    rows = []
    for index, middle_s in enumerate(bins.middles_s):
        phase = next((s.phase for s in course.stretches if s.start_s <= middle_s < s.end_s), "–")
        cells = [number(round(float(rates[tenant][index]), 1)) for tenant in rates]
        start = duration(float(bins.edges_s[index]) - begin_s)
        rows.append(TableRow((start, phase, *cells, f"{int(errors[index])}"), (float(middle_s) - begin_s) / unit_s))
    return rows
