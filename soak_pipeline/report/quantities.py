"""Numbers with their unit, as a person reads them.

Owns rounding and unit words. Never used for what a machine reads: JSON keeps the full figure.
"""

from __future__ import annotations

import math

from soak_pipeline.model.verdict import CriterionResult, Direction, Finding, Limit
from soak_pipeline.report.text import one_line

NOT_MEASURED = "–"

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_SIGNS = {Direction.AT_MOST: "≤", Direction.AT_LEAST: "≥"}
_PER = {"per_second": "/s", "per_hour": "/h", "per_day": "/d"}


def quantity(value: float | None, unit: str = "") -> str:
    """A figure and its unit: `118 ms`, `1.34x`, `0.50 %`, `512 MiB`, `12 rows`; a dash when it was not measured.

    Args:
        value: in `unit`; None and NaN were not measured.
        unit: as in `Finding.unit`; a `share` is shown in per cent.
    """
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "share":
        return f"{number(100 * value)} %"
    if unit == "ratio":
        return f"{value:.2f}x"
    if unit.startswith("bytes"):
        return _bytes(value) + _suffix(unit.removeprefix("bytes"))
    if unit in ("", "count"):
        return number(value)
    words = one_line(unit).replace("_per_second", "/s").replace("_per_hour", "/h").replace("_", " ")
    return f"{number(value)} {words}"


def limit_text(limit: Limit | None) -> str:
    """A limit with its direction: `≤ 1.20x`, `≥ 95 %`, `≤ 0 violations`; a dash when there is none."""
    return NOT_MEASURED if limit is None else f"{_SIGNS[limit.direction]} {quantity(limit.value, limit.unit)}"


def limit_of(result: CriterionResult | Finding) -> str:
    """The limit of a result or a finding, with its direction, to stand beside the figure.

    What the figure counts is not said again: `12 requests`, `≥ 30`.
    """
    limit = result.limit
    if limit is None or result.observed is None or _has_symbol(limit.unit):
        return limit_text(limit)
    return f"{_SIGNS[limit.direction]} {number(limit.value)}"


def _has_symbol(unit: str) -> bool:
    """Whether a unit is one of measure; any other is the noun of what is counted."""
    return unit in ("", "count", "share", "ratio", "ms", "s") or unit.startswith("bytes") or "_per_" in unit


def interval_text(interval: tuple[float | None, float | None] | None, unit: str = "") -> str:
    """An interval such as `1.25x to 1.43x`, `up to 240 ms`, `from 3 rows`; empty when there is none."""
    if interval is None or interval == (None, None):
        return ""
    low, high = interval
    if low is None:
        return f"up to {quantity(high, unit)}"
    if high is None:
        return f"from {quantity(low, unit)}"
    return f"{quantity(low, unit)} to {quantity(high, unit)}"


def number(value: float) -> str:
    """A number with at least three significant digits, thousands separated; whole numbers stay whole."""
    if value == 0:
        return "0"
    size = abs(value)
    if float(value).is_integer() or size >= 1_000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}" if size >= 999.5 else f"{value:.3g}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.01:
        return f"{value:.2f}"
    return f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """Seconds as `45 s`, `2 min 05 s` or `1 h 02 min`; a dash when unknown."""
    if seconds is None:
        return NOT_MEASURED
    whole = round(seconds)
    if whole < 60:
        return f"{number(round(seconds, 1))} s" if seconds < 10 else f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    return f"{whole // 3_600} h" + (f" {whole % 3_600 // 60:02d} min" if whole % 3_600 // 60 else "")


def _bytes(value: float) -> str:
    power = 0 if value == 0 else min(max(int(math.log(abs(value), 1_024)), 0), len(_BYTES) - 1)
    return f"{number(round(value / 1_024**power, 2))} {_BYTES[power]}"


def _suffix(unit: str) -> str:
    words = unit.strip("_")
    return _PER.get(words, f" {one_line(words).replace('_', ' ')}" if words else "")
