"""Colours of the page: text has a contrast of 4.5 at least, drawings 3 (WCAG 2.2, 1.4.3 and 1.4.11), light and dark."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import combinations

import pytest

from soak_pipeline.report.charts.canvas import ROLES, TENANT_COLOURS
from soak_pipeline_tests.report.colours import contrast, difference

CSS = (files("soak_pipeline.report.page") / "report.css").read_text(encoding="utf-8")
SCHEMES = dict(zip(("light", "dark"), re.findall(r":root\{(.*?)\}", CSS, re.DOTALL), strict=True))
GROUNDS = ("page", "surface", "raised", "pass-tint", "fail-tint", "open-tint")
WORDS = ("ink", "muted", "pass", "fail", "open")
TENANTS = tuple(f"tenant-{index}" for index in range(len(TENANT_COLOURS)))
DRAWN = ("limit", "warn", "accent", "tenant-other", *TENANTS)


def colours(scheme: str) -> dict[str, str]:
    pairs = re.findall(r"--([a-z0-9-]+):(#[0-9a-f]{3,6})", SCHEMES[scheme])
    return {
        name: value if len(value) == 7 else "#" + "".join(2 * digit for digit in value[1:]) for name, value in pairs
    }


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_can_be_read_on_every_ground(scheme: str) -> None:
    palette = colours(scheme)
    poor = {
        (word, ground): round(contrast(palette[word], palette[ground]), 2)
        for word in WORDS
        for ground in GROUNDS
        if contrast(palette[word], palette[ground]) < 4.5
    }
    assert poor == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_drawings_can_be_seen(scheme: str) -> None:
    palette = colours(scheme)
    assert {
        name: contrast(palette[name], palette["page"]) for name in DRAWN if contrast(palette[name], palette["page"]) < 3
    } == {}


def test_difference_of_black_and_white() -> None:
    assert difference("#000000", "#ffffff") == pytest.approx(1.0, abs=1e-3)
    assert difference("#0b62c4", "#0b62c4") == 0.0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tenants_are_told_apart(scheme: str) -> None:
    palette = colours(scheme)
    near = {
        (first, second): round(difference(palette[first], palette[second]), 3)
        for first, second in combinations((*TENANTS, "tenant-other"), 2)
        if difference(palette[first], palette[second]) < 0.1
    }
    assert near == {}


@pytest.mark.parametrize("name", [*TENANTS, "tenant-other"])
def test_every_colour_of_a_tenant_has_a_swatch(name: str) -> None:
    assert f".{name}{{background:var(--{name})}}" in CSS


def test_every_role_of_a_drawing_is_a_colour_of_the_page() -> None:
    for scheme in SCHEMES:
        assert {name.removeprefix("--") for name, _ in ROLES.values()} <= set(colours(scheme))
