"""A line without axes, small enough to stand in a line of text, as SVG that stands alone.

Owns the drawing only. Its colours are readable on light and on dark ground, because it cannot know on which it stands.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

WIDTH, HEIGHT, PADDING = 180.0, 36.0, 4.0
MAX_POINTS = 24
LEAST_RANGE_SHARE = 0.25
"""The range is at least this share of the largest value, so that mere noise is drawn as what it is."""

_LINE, _LIMIT, _DOT = "#4b83d8", "#d6493c", "#4b83d8"


def sparkline_svg(values: Sequence[float], *, limit: float | None = None) -> str:
    """The values from left to right, evenly spaced, with the limit as a dashed line where it is in reach.

    Args:
        values: NaN leaves a gap; more than `MAX_POINTS` are drawn as means of equally many.
        limit: in the values' unit; drawn only when it is below twice the largest value, else the line would be flat.

    Returns:
        An SVG document; empty when there is no value at all.
    """
    points = _condensed(values)
    known = [value for value in points if math.isfinite(value)]
    if not known:
        return ""
    shown_limit = limit if limit is not None and limit <= 2 * max(known) else None
    bounds = [*known, *([shown_limit] if shown_limit is not None else [])]
    low, high = _range(bounds)

    def x_of(index: int) -> float:
        return PADDING + (WIDTH - 2 * PADDING) * (index / (len(points) - 1) if len(points) > 1 else 0.5)

    def y_of(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return HEIGHT - PADDING - (HEIGHT - 2 * PADDING) * share

    parts = []
    if shown_limit is not None:
        y = y_of(shown_limit)
        parts.append(
            f'<line x1="0" x2="{WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_LIMIT}" stroke-dasharray="5 3"/>'
        )
    for stretch in _stretches(points):
        path = " ".join(f"{x_of(index):.1f},{y_of(value):.1f}" for index, value in stretch)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="1.8"/>')
    last = max(index for index, value in enumerate(points) if math.isfinite(value))
    parts.append(f'<circle cx="{x_of(last):.1f}" cy="{y_of(points[last]):.1f}" r="2.6" fill="{_DOT}"/>')
    size = f'width="{WIDTH:g}" height="{HEIGHT:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest value that is drawn."""
    low, high = min(values), max(values)
    missing = LEAST_RANGE_SHARE * max(abs(low), abs(high)) - (high - low)
    return (low - missing / 2, high + missing / 2) if missing > 0 else (low, high)


def _condensed(values: Sequence[float]) -> list[float]:
    """At most `MAX_POINTS` values, each the mean of what is known in its stretch."""
    if len(values) <= MAX_POINTS:
        return [float(value) for value in values]
    edges = [round(index * len(values) / MAX_POINTS) for index in range(MAX_POINTS + 1)]
    return [_mean(values[start:end]) for start, end in itertools.pairwise(edges)]


def _mean(values: Sequence[float]) -> float:
    known = [float(value) for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _stretches(points: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The points between the gaps."""
    stretches: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(points):
        if math.isfinite(value):
            stretches[-1].append((index, value))
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]
