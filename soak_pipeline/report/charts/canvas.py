"""Drawing surface of every chart: sizes, roles of colours, axes, and SVG that fits into a page.

matplotlib draws; this module owns what makes its SVG part of the page: colours become CSS variables, so that light,
dark and print need one drawing; fonts are the page's; identifiers are unique in the page. Never decides what is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, MUTED, GRID, LIMIT, BAD, ACCENT, WARN = (f"#00000{digit}" for digit in range(1, 8))
TENANT_COLOURS = tuple(f"#00001{index}" for index in range(8))
TENANT_OTHER = "#000018"
"""Placeholders, one per role; each becomes a CSS variable, so no drawing has a colour of its own."""

ROLES: Mapping[str, tuple[str, str]] = {
    INK: ("--ink", "#1b1f24"),
    MUTED: ("--muted", "#5b6470"),
    GRID: ("--grid", "#e2e6ea"),
    LIMIT: ("--limit", "#b42318"),
    BAD: ("--fail", "#b42318"),
    ACCENT: ("--accent", "#2f5fd0"),
    WARN: ("--warn", "#9a6700"),
    TENANT_OTHER: ("--tenant-other", "#868d97"),
    **{
        colour: (f"--tenant-{index}", fallback)
        for index, (colour, fallback) in enumerate(
            zip(
                TENANT_COLOURS,
                ("#c2410c", "#0b62c4", "#0a7f5e", "#a3348f", "#3d4450", "#6d28d9", "#8a6d00", "#0891b2"),
                strict=True,
            )
        )
    },
}
"""Per placeholder: the CSS variable, and the colour where the drawing stands outside the page."""

FONT_PX = 11.0
_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_COLOUR = re.compile("|".join(ROLES))
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT_FAMILY = re.compile(r"font-family:[^;]*;?\s*")
_DRAWN_ATTRIBUTES = ("d", "x", "y", "width", "height", "transform", "points")


@dataclass(frozen=True, slots=True)
class TimeUnit:
    """The unit of a time axis, chosen so that its numbers stay small and whole."""

    seconds: float
    name: str


def time_unit(span_s: float) -> TimeUnit:
    """Seconds up to three minutes, minutes up to three hours, then hours."""
    if span_s <= 180.0:
        return TimeUnit(1.0, "s")
    return TimeUnit(60.0, "min") if span_s <= 3 * 3_600.0 else TimeUnit(3_600.0, "h")


@dataclass(frozen=True, slots=True)
class Margins:
    """Space around the axes, in pixels of the drawing."""

    left: float = 44.0
    right: float = 12.0
    top: float = 20.0
    bottom: float = 26.0


@dataclass(frozen=True, slots=True)
class Canvas:
    """A figure of a size in pixels, with axes placed to the pixel, so that a reader's pointer can be located."""

    figure: Figure
    width: float
    height: float

    def axes(self, top: float, height: float, margins: Margins) -> Axes:
        """Axes from `top` downwards, `height` pixels high, between the left and right margins."""
        axes = self.figure.add_axes(
            (
                margins.left / self.width,
                1.0 - (top + height) / self.height,
                (self.width - margins.left - margins.right) / self.width,
                height / self.height,
            )
        )
        _style(axes)
        return axes


def new_canvas(width: float, height: float) -> Canvas:
    """An empty drawing of that many pixels."""
    figure = Figure(figsize=(width / 72.0, height / 72.0), dpi=72)
    figure.patch.set_visible(False)
    FigureCanvasSVG(figure)
    return Canvas(figure, width, height)


def panel(width: float = 340.0, height: float = 190.0, margins: Margins | None = None) -> tuple[Canvas, Axes]:
    """A drawing with one pair of axes."""
    margins = margins or Margins()
    canvas = new_canvas(width, height)
    return canvas, canvas.axes(margins.top, height - margins.top - margins.bottom, margins)


def y_title(axes: Axes, text: str) -> None:
    """The unit of the y axis, horizontally above it, where it can be read."""
    axes.annotate(
        text, (0, 1), (-6, 7), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
        fontsize=FONT_PX, color=MUTED, annotation_clip=False,
    )  # fmt: skip


def limit_line(axes: Axes, value: float, text: str) -> None:
    """A budget as a dashed line across; its words stand above the axes, where no data is."""
    axes.axhline(value, color=LIMIT, linewidth=1.2, linestyle=(0, (5, 3)), zorder=3)
    corner_words(axes, f"╌ {text}", LIMIT)


def corner_words(axes: Axes, text: str, colour: str) -> None:
    """Words above the right end of the axes."""
    axes.annotate(
        text, (1, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
        fontsize=FONT_PX, color=colour, annotation_clip=False,
    )  # fmt: skip


def whole_ticks(axes: Axes, x: int | None = None, y: int | None = None) -> None:
    """At most so many ticks on each axis."""
    if x is not None:
        axes.xaxis.set_major_locator(MaxNLocator(x, steps=[1, 2, 5, 10]))
    if y is not None:
        axes.yaxis.set_major_locator(MaxNLocator(y, steps=[1, 2, 2.5, 5, 10]))


def x_unit(axes: Axes, text: str) -> None:
    """The unit of the x axis, behind its last number."""
    low, high = axes.get_xlim()
    inside = [tick for tick in axes.get_xticks() if low <= tick <= high]
    axes.set_xticks(inside, [f"{tick:g}{' ' + text if tick == inside[-1] else ''}" for tick in inside])


def to_svg(canvas: Canvas, key: str, axes: Axes | None = None) -> str:
    """The drawing as an SVG element for the page.

    Args:
        canvas: what was drawn.
        key: unique in the page; identifiers are derived from it.
        axes: whose horizontal axis a pointer is located on; None for none.
    """
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key, "path.simplify": True}):
        canvas.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    root = ET.fromstring(text.getvalue().split("?>", 1)[1].split(">", 1)[1])
    _drop(root, "metadata")
    _drop(root, "style")
    _tidy(root)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("viewBox", f"0 0 {canvas.width:g} {canvas.height:g}")
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    if axes is not None:
        box = axes.get_position()
        low, high = axes.get_xlim()
        root.set("data-plot", " ".join(f"{value:.6g}" for value in (box.x0, box.x1, 1 - box.y1, 1 - box.y0, low, high)))
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _style(axes: Axes) -> None:
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.spines["bottom"].set_linewidth(0.8)
    axes.tick_params(length=0, labelsize=FONT_PX, labelcolor=MUTED, pad=5)
    axes.grid(axis="y", color=GRID, linewidth=1.0)
    axes.set_axisbelow(True)
    axes.margins(x=0)


def _drop(root: ET.Element, tag: str) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{_SVG}}}{tag}" or child.tag.endswith(f"}}{tag}"):
                parent.remove(child)


def _tidy(root: ET.Element) -> None:
    """Roles instead of colours, the page's font, short numbers, only the identifiers that are referred to."""
    wanted = set(_references(root))
    for element in root.iter():
        if element.get("id") not in wanted:
            element.attrib.pop("id", None)
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
        style = element.get("style")
        if style is not None:
            element.set("style", _FONT_FAMILY.sub("", _COLOUR.sub(_variable, style)))
        for name in _DRAWN_ATTRIBUTES:
            value = element.get(name)
            if value is not None:
                element.set(name, _NUMBER.sub(_rounded, value).replace("\n", ""))
        element.tail = None
        if element.text is not None and not element.text.strip():
            element.text = None


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        yield element.get(_HREF, "").removeprefix("#")
        for value in element.attrib.values():
            yield from _REFERENCE.findall(value)


def _variable(match: re.Match[str]) -> str:
    name, fallback = ROLES[match.group()]
    return f"var({name},{fallback})"


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match.group()):.1f}".removesuffix(".0")
