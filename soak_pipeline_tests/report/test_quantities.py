from __future__ import annotations

import math

import pytest

from soak_pipeline.report.quantities import duration, interval_text, number, quantity


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (118.0, "ms", "118 ms"),
        (118.26, "ms", "118 ms"),
        (31.44, "ms", "31.4 ms"),
        (1.336, "ratio", "1.34x"),
        (0.005, "share", "0.50 %"),
        (0.95, "share", "95 %"),
        (12.0, "rows", "12 rows"),
        (12_345.0, "rows", "12,345 rows"),
        (0.0, "rows", "0 rows"),
        (536_870_912.0, "bytes", "512 MiB"),
        (1_572_864.0, "bytes_per_hour", "1.50 MiB/h"),
        (-2_048.0, "bytes", "-2 KiB"),
        (3.5, "requests_per_second", "3.50 requests/s"),
        (7.0, "count", "7"),
        (None, "ms", "–"),
        (math.nan, "ms", "–"),
        (math.inf, "ms", "∞"),
        (0.00042, "s", "0.00042 s"),
    ],
)
def test_quantity(value: float | None, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        (None, ""),
        ((None, None), ""),
        ((1.25, 1.43), "1.25x to 1.43x"),
        ((None, 1.43), "up to 1.43x"),
        ((1.25, None), "from 1.25x"),
    ],
)
def test_interval_text(interval: tuple[float | None, float | None] | None, shown: str) -> None:
    assert interval_text(interval, "ratio") == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(999.6, "1000"), (1_000.4, "1,000"), (99.96, "100.0"), (-0.5, "-0.50"), (123.4, "123")]
)
def test_number(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (4.04, "4 s"),
        (4.25, "4.20 s"),
        (45, "45 s"),
        (60, "1 min"),
        (125, "2 min 05 s"),
        (7_200, "2 h"),
        (3_725, "1 h 02 min"),
    ],
)
def test_duration(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown
