"""Numbers as a person reads them: with their unit, and no more digits than they carry."""

from __future__ import annotations

from collections.abc import Iterable


def ms(value: float) -> str:
    """Milliseconds: `4.2 ms`, `118 ms`, `12,400 ms`."""
    return f"{value:,.0f} ms" if abs(value) >= 10 else f"{value:.1f} ms"


def seconds(value: float) -> str:
    """Seconds: `0.3 s`, `38 s`."""
    return f"{value:,.0f} s" if abs(value) >= 10 else f"{value:.1f} s"


def duration(value_s: float) -> str:
    """A longer time as a person says it: `45 s`, `2 min 10 s`, `5 min`, `1 h 30 min`."""
    whole = round(value_s)
    parts = [(whole // 3_600, "h"), (whole % 3_600 // 60, "min"), (whole % 60, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def share(value: float) -> str:
    """A share (0..1) in percent: `0.34 %`, `95 %`, `0 %`."""
    percent = value * 100.0
    if percent == 0 or abs(percent) >= 10:
        return f"{percent:.0f} %"
    return f"{percent:.2g} %"


def count(number: float, noun: str = "", plural: str = "") -> str:
    """A count with its noun: `1 row`, `1,204 rows`."""
    text = f"{number:,.0f}"
    if not noun:
        return text
    return f"{text} {noun if number == 1 else plural or noun + 's'}"


def quantity(value: float, unit: str) -> str:
    """A value of a resource in its unit; bytes in KiB, MiB or GiB, shares in percent."""
    if unit == "share":
        return share(value)
    if unit == "bytes":
        for name, size in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
            if abs(value) >= size:
                return f"{value / size:,.1f} {name}"
        return f"{value:,.0f} bytes"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
    return text if unit in ("count", "ratio") else f"{text} {unit}"


def listed(words: Iterable[str], most: int = 4) -> str:
    """A list for a sentence, cut after some: `a, b, c and 3 more`."""
    items = list(words)
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"
