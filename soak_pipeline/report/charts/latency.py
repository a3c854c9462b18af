"""Latency in the soak: percentiles over time per tenant on both clocks, and the whole distribution by percentile.

Owns these drawings. Never judges: the criterion's own figures are in `latency.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.traffic import Kind, Outcome, Phase
from soak_pipeline.report.charts.bins import (
    SAMPLES_PER_BIN,
    Bins,
    Floats,
    bins_for,
    exact_percentiles,
    percentiles_by_bin,
)
from soak_pipeline.report.charts.canvas import (
    FONT_PX,
    INK,
    MUTED,
    TENANT_OTHER,
    Margins,
    corner_words,
    limit_line,
    panel,
    time_unit,
    to_svg,
    whole_ticks,
    x_unit,
    y_title,
)
from soak_pipeline.report.charts.chart import Chart, TableRow
from soak_pipeline.report.course import Course
from soak_pipeline.report.quantities import duration, number, quantity
from soak_pipeline.report.tenant_key import TenantKey, label_beside

SHARES = (0.50, 0.95, 0.99)
UNANSWERED = (Outcome.TIMEOUT, Outcome.TRANSPORT_ERROR)
COUNTED = (Outcome.OK, *UNANSWERED)
"""Outcomes whose latency is drawn: the right answer, or none at all; a fast refusal is not a fast answer."""

PANELS = 24
"""Tenants whose course is drawn, those with a colour of their own first; the table of latencies has every one."""
LABEL_CHARS = 8
"""Longest name that is written at the end of a curve."""

_CURVE_POINTS = 90
_CURVE_POINTS_OF_OTHERS = 30
_PLOT_PX = 144.0
_LABEL_SHARE = 0.05
"""Width of a label, as a share of the axis."""
_CURVE_TICKS = (0.50, 0.90, 0.99, 0.999, 0.9999, 0.99999)
_SCALE_WITHOUT_LIMIT = 0.4
"""Where nothing reaches this share of the limit, the scale shows the figures instead of the distance."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Executed calls of one tenant in the soak: when they were due (seconds into the soak) and how long they took."""

    tenant: str
    times_s: Floats
    latency_ms: Floats
    service_ms: Floats

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(frozen=True, slots=True)
class LatencyCharts:
    """The drawings of latency.

    Attributes:
        shown: percentiles over time of each tenant with a colour of its own, then all tenants by percentile.
        folded: percentiles over time of other tenants, those beyond the limit first.
        left_out: how many tenants have no drawing of their own.
    """

    shown: Sequence[Chart] = ()
    folded: Sequence[Chart] = ()
    left_out: int = 0


def latency_charts(
    course: Course, key: TenantKey, limit_ms: float, timeout_s: float, own_limits_ms: Mapping[str, float] | None = None
) -> LatencyCharts:
    """Percentiles over time, one drawing per tenant, and all tenants by percentile; none without samples.

    Args:
        course: of the run.
        key: its tenants and their colours.
        limit_ms: of the p95.
        timeout_s: of a request; one without an answer is drawn at least that high.
        own_limits_ms: of tenants that have their own.
    """
    limits_ms = own_limits_ms or {}
    if course.requests is None:
        return LatencyCharts()
    begin_s = course.soak.start_s if course.soak is not None else None
    samples = [part for part in soak_samples(course.requests, key.names, begin_s, timeout_s) if len(part)]
    if not samples:
        return LatencyCharts()
    end_s = max(float(part.times_s.max()) for part in samples)
    binned = [_Binned.of(part, end_s) for part in samples]
    coloured = [part for part in binned if part.tenant in key.coloured]
    others = sorted((part for part in binned if part.tenant not in key.coloured), key=lambda part: -part.worst_ms_p95)
    room = max(0, PANELS - len(coloured))
    top_ms = max(float(np.nanmax(part.latency)) for part in (*coloured, *others[:room]))
    panels = [
        _over_time(part, key, limits_ms.get(part.tenant, limit_ms), top_ms) for part in (*coloured, *others[:room])
    ]
    return LatencyCharts(
        shown=[*panels[: len(coloured)], _by_percentile(samples, key, limit_ms)],
        folded=panels[len(coloured) :],
        left_out=len(others[room:]),
    )


def soak_samples(
    requests: RequestTable, tenants: Sequence[str], begin_s: float | None, timeout_s: float
) -> list[Samples]:
    """The executed calls of every tenant in the judged part of the soak.

    Args:
        requests: of the run.
        tenants: their names.
        begin_s: when it began, seconds since the plan's epoch; None takes the first request.
        timeout_s: what a call without an answer counts with at least.
    """
    soak = requests.take(
        requests.where(phase=Phase.SOAK.value, kind=Kind.ALLOWED.value, outcome=[outcome.value for outcome in COUNTED])
    )
    times_s = soak.columns["intended_us"].astype(np.float64) / 1e6
    if begin_s is None:
        begin_s = float(times_s.min()) if len(times_s) else 0.0
    least_ms = np.where(soak.where(outcome=[outcome.value for outcome in UNANSWERED]), timeout_s * 1_000.0, 0.0)
    latency_ms, service_ms = np.maximum(soak.latency_ms, least_ms), np.maximum(soak.service_ms, least_ms)
    parts = []
    for tenant in tenants:
        mine = soak.where(tenant=tenant) & soak.columns["settled"]
        parts.append(Samples(tenant, times_s[mine] - begin_s, latency_ms[mine], service_ms[mine]))
    return parts


@dataclass(frozen=True, slots=True)
class _Binned:
    """Percentiles per stretch of time, one column per share of `SHARES`."""

    tenant: str
    bins: Bins
    samples: NDArray[np.intp]
    latency: Floats
    service: Floats

    @property
    def worst_ms_p95(self) -> float:
        """The largest p95 of a stretch (ms)."""
        return float(np.nanmax(self.latency[:, 1]))

    @classmethod
    def of(cls, samples: Samples, end_s: float) -> _Binned:
        bins = bins_for(0.0, end_s, samples=len(samples))
        slots = bins.slots(samples.times_s)
        return cls(
            samples.tenant,
            bins,
            np.bincount(slots[slots >= 0], minlength=bins.count),
            percentiles_by_bin(bins, samples.times_s, samples.latency_ms, SHARES),
            percentiles_by_bin(bins, samples.times_s, samples.service_ms, SHARES),
        )


def _over_time(part: _Binned, key: TenantKey, limit_ms: float, top_ms: float) -> Chart:
    canvas, axes = panel()
    # Alone in its drawing, a tenant without a colour is drawn in ink: grey is the service time.
    colour = key.colour(part.tenant) if part.tenant in key.coloured else INK
    # An identifier in the page, so never made of a name.
    identifier = f"latency-{key.names.index(part.tenant)}"
    unit = time_unit(float(part.bins.edges_s[-1]))
    times = part.bins.middles_s / unit.seconds
    marker = "o" if part.bins.count < 8 else ""
    for column, width, alpha in ((0, 1.0, 0.7), (1, 2.2, 1.0), (2, 1.2, 0.85)):
        axes.plot(
            times, part.latency[:, column], color=colour, linewidth=width, alpha=alpha, marker=marker, markersize=3
        )
    for column in (1, 2):
        axes.plot(times, part.service[:, column], color=MUTED, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_xlim(0, float(part.bins.edges_s[-1]) / unit.seconds)
    y_title(axes, "ms")
    _limit(axes, limit_ms, top_ms)
    whole_ticks(axes, x=5, y=4)
    x_unit(axes, unit.name)
    worst = int(np.nanargmax(part.latency[:, 1]))
    summary = (
        f"Tenant {part.tenant}: p95 between {quantity(float(np.nanmin(part.latency[:, 1])), 'ms')} and "
        f"{quantity(float(part.latency[worst, 1]), 'ms')} (highest {duration(float(part.bins.edges_s[worst]))} into "
        f"the soak), p99 up to {quantity(float(np.nanmax(part.latency[:, 2])), 'ms')}; p95 limit "
        f"{quantity(limit_ms, 'ms')}."
    )
    return Chart(
        key=identifier,
        title=f"Tenant {part.tenant}",
        summary=summary,
        svg=to_svg(canvas, identifier, axes),
        header=("into the soak", "samples", "p50 ms", "p95 ms", "p99 ms", "service p95 ms", "service p99 ms"),
        rows=_rows(part, unit.seconds),
        note=_bin_note(part),
        tone="fail" if part.worst_ms_p95 > limit_ms else "",
    )


def _bin_note(part: _Binned) -> str:
    words = f"Exact percentiles of the calls due in each {duration(part.bins.length_s)}."
    fewest = int(part.samples.min())
    if fewest < SAMPLES_PER_BIN:
        words += f" From {fewest} calls a point: p99 is close to the largest value."
    return words


def _rows(part: _Binned, unit_s: float) -> list[TableRow]:
    rows = []
    for index in range(part.bins.count):
        figures = [*part.latency[index], *part.service[index, 1:]]
        cells = (
            duration(float(part.bins.edges_s[index])),
            f"{int(part.samples[index]):,}",
            *(quantity(float(value)) for value in figures),
        )
        rows.append(TableRow(cells, float(part.bins.middles_s[index]) / unit_s))
    return rows


def _by_percentile(samples: list[Samples], key: TenantKey, limit_ms: float) -> Chart:
    coloured = [part for part in samples if part.tenant in key.coloured]
    others = [part for part in samples if part.tenant not in key.coloured]
    has_labels = label_beside(key.coloured, most=LABEL_CHARS)
    margins = Margins(right=14.0 + 6.2 * max(len(name) for name in key.coloured) if has_labels else 14.0)
    canvas, axes = panel(margins=margins)
    for part in others:
        _curve(axes, part, TENANT_OTHER, _CURVE_POINTS_OF_OTHERS, alpha=0.5)
    ends = [_curve(axes, part, key.colour(part.tenant), _CURVE_POINTS, alpha=1.0) for part in coloured]
    for part in coloured:
        shares = _curve_shares(len(part), _CURVE_POINTS)
        axes.plot(
            -np.log10(1.0 - shares),
            exact_percentiles(part.service_ms, tuple(shares)),
            color=key.colour(part.tenant),
            linewidth=0.9,
            linestyle=(0, (3, 2)),
        )
    deepest = max(1.0, *(float(np.asarray(line.get_xdata())[-1]) for line in axes.get_lines()))
    top_ms = max(float(part.latency_ms.max()) for part in samples)
    axes.set_xlim(0, deepest)
    y_title(axes, "ms")
    _limit(axes, limit_ms, top_ms)
    whole_ticks(axes, y=4)
    ticks = _readable_ticks(deepest)
    axes.set_xticks([-np.log10(1 - share) for share in ticks], [f"{100 * share:g} %" for share in ticks])
    for place, value, shift, tenant in _spread(ends, axes.get_ylim()[1]) if has_labels else ():
        axes.annotate(
            tenant, (place, value), (4, shift), textcoords="offset points", va="center", fontsize=FONT_PX,
            color=key.colour(tenant), annotation_clip=False, fontweight="bold",
        )  # fmt: skip
    slowest = max(samples, key=lambda part: float(part.latency_ms.max()))
    note = "Every call of the soak; a curve ends where its samples do."
    if others:
        note += f" Grey: {key.others_words}."
    if not has_labels:
        note += " Colours as in the table above."
    return Chart(
        key="latency-by-percentile",
        title="By percentile",
        summary=f"Latency of the whole soak by percentile, per tenant; the slowest call took "
        f"{quantity(top_ms, 'ms')} (tenant {slowest.tenant}).",
        svg=to_svg(canvas, "latency-by-percentile", axes),
        header=("percentile", *(f"tenant {part.tenant} ms" for part in coloured)),
        rows=_percentile_rows(coloured),
        note=note,
    )


def _curve(axes: Axes, part: Samples, colour: str, points: int, *, alpha: float) -> tuple[float, float, str]:
    """Draws latency by percentile, and says where the curve ends: place, latency (ms) and tenant."""
    shares = _curve_shares(len(part), points)
    places = -np.log10(1.0 - shares)
    latency = exact_percentiles(part.latency_ms, tuple(shares))
    axes.plot(places, latency, color=colour, linewidth=1.6 if alpha == 1.0 else 1.0, alpha=alpha)
    return float(places[-1]), float(latency[-1]), part.tenant


def _percentile_rows(samples: list[Samples]) -> list[TableRow]:
    shares_shown = [share for share in _CURVE_TICKS if any(len(part) * (1 - share) >= 1 for part in samples)]
    return [
        TableRow(
            (
                f"{100 * share:g} %",
                *(
                    quantity(float(exact_percentiles(part.latency_ms, (share,))[0]))
                    if len(part) * (1 - share) >= 1
                    else "–"
                    for part in samples
                ),
            ),
            float(-np.log10(1 - share)),
        )
        for share in shares_shown
    ]


def _readable_ticks(deepest: float) -> list[float]:
    """Shares to write under the axis of nines, as many as fit beside each other, the deepest first."""
    kept: list[float] = []
    for share in reversed(_CURVE_TICKS):
        place = -np.log10(1 - share)
        if place <= deepest and all(-np.log10(1 - other) - place >= deepest / 4.5 for other in kept):
            kept.append(share)
    return kept


def _spread(ends: list[tuple[float, float, str]], top_ms: float) -> list[tuple[float, float, float, str]]:
    """The ends of curves with a vertical shift for each label (pixels), so that no label covers another.

    Labels give way upwards, and downwards again where they would leave the drawing.
    """
    placed: list[tuple[float, float, float, str]] = []
    deepest = max((end[0] for end in ends), default=0.0)

    def height(end: tuple[float, float, str] | tuple[float, float, float, str]) -> float:
        return end[1] / top_ms * _PLOT_PX

    def beside(place: float, others: list[tuple[float, float, float, str]]) -> list[float]:
        return [height(other) + other[2] for other in others if abs(other[0] - place) < _LABEL_SHARE * deepest]

    for end in sorted(ends, key=lambda end: end[1]):
        at = max([height(end), *(other + FONT_PX for other in beside(end[0], placed))])
        placed.append((end[0], end[1], at - height(end), end[2]))
    kept: list[tuple[float, float, float, str]] = []
    for item in sorted(placed, key=lambda item: -(height(item) + item[2])):
        at = min([height(item) + item[2], _PLOT_PX, *(other - FONT_PX for other in beside(item[0], kept))])
        kept.append((item[0], item[1], at - height(item), item[3]))
    return kept


def _curve_shares(samples: int, points: int) -> Floats:
    """Shares from the median towards 1, evenly spaced on the axis of nines, ending at the largest sample."""
    places = np.linspace(0.0, max(np.log10(samples), 0.1), points)
    shares: Floats = np.minimum(1.0 - 10.0**-places, 1.0 - 0.5 / samples)
    return np.maximum(shares, 1e-9)


def _limit(axes: Axes, limit_ms: float, top_ms: float) -> None:
    """The limit and the scale that goes with it."""
    if top_ms >= _SCALE_WITHOUT_LIMIT * limit_ms:
        axes.set_ylim(0, 1.15 * max(top_ms, limit_ms))
        limit_line(axes, limit_ms, f"p95 limit {number(limit_ms)} ms")
        return
    axes.set_ylim(0, 1.2 * top_ms)
    corner_words(axes, f"p95 limit {number(limit_ms)} ms ↑", MUTED)
