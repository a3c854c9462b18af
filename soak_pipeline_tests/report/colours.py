"""Contrast of two colours by WCAG 2.2, and how different they look."""

from __future__ import annotations

import math


def linear(colour: str) -> tuple[float, float, float]:
    """Red, green and blue of `#rrggbb` as light (0..1)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return red, green, blue


def luminance(colour: str) -> float:
    """Relative luminance (0..1) of `#rrggbb`."""
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast (1..21) of two colours."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def difference(first: str, second: str) -> float:
    """How different two colours look: their distance in OKLab; 1 from black to white."""
    return math.dist(_oklab(first), _oklab(second))


def _oklab(colour: str) -> tuple[float, float, float]:
    """Lightness, green to red, blue to yellow (B. Ottosson, A perceptual color space for image processing, 2020)."""
    red, green, blue = linear(colour)
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )
