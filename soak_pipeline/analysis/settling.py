"""Growth that ends by itself: a warm-up that saturates, a single step up, or a rise that keeps slowing down.

Owns the comparison of these shapes with a straight line. A cache that fills, a pool that opens its connections and an
interpreter that compiles its code all grow like a leak at first. It never decides whether something leaks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from soak_pipeline.analysis.arrays import FloatArray
from soak_pipeline.analysis.dependence import careful_r1, lag1_autocorrelation, variance_inflation
from soak_pipeline.analysis.series import Series

# How much better, in log-likelihood units doubled, a shape has to explain a series before it replaces a simpler one.
# It is more than an information criterion asks, since several shapes are tried.
LEAST_GAIN = 12.0
FEWEST_POINTS = 20
# A saturation with a longer time constant than this share of the run has not shown its end.
LONGEST_SETTLED_SHARE = 1.0 / 3.0


@dataclass(frozen=True, slots=True)
class Settling:
    """A settling shape that, beside a straight line, explains a series clearly better than the line alone.

    `kind` is "saturating" or "step"; `scale_s` the time constant of the saturation, or the time of the step after the
    first point; `amplitude` the size of the rise in the unit of the series; `columns` the regressors of the shape.
    """

    kind: str
    scale_s: float
    amplitude: float
    columns: FloatArray


@dataclass(frozen=True, slots=True)
class SettlingSearch:
    """What was found: a shape that has settled, and whether the series is rather still slowing down.

    `is_slowing_down` means that a rise which keeps slowing down explains the series clearly better than a line does,
    and no worse than a settled shape with a line beside it: what looks like growth may be the rest of a warm-up.
    """

    settled: Settling | None
    is_slowing_down: bool


@dataclass(frozen=True, slots=True)
class _Fit:
    misfit: float
    kind: str
    scale: float
    amplitude: float
    residuals: FloatArray


def find_settling(series: Series) -> SettlingSearch:
    """Search for settling shapes.

    Args:
        series: nothing is found in fewer than 20 points.

    Points count by the dependence of what a shape leaves unexplained, so that a wandering series does not look
    settled by luck.
    """
    n = int(series.times_s.size)
    duration = series.duration_s
    if n < FEWEST_POINTS or duration <= 0.0:
        return SettlingSearch(None, False)
    elapsed = (series.times_s - series.times_s[0]) / duration
    # Numbers of the size of a process's memory squared drown small misfits; the spread is the natural unit.
    values = series.values - float(np.mean(series.values))
    floor = 1e-20 * float(values @ values) + 1e-300
    line = _fit(elapsed, values, "line", 0.0, with_line=True)
    settled = min(
        (_fit(elapsed, values, kind, scale, with_line=True) for kind, scale in _settled_shapes()),
        key=lambda fit: fit.misfit if fit.amplitude > 0.0 else math.inf,
    )
    slowing = min(
        (_fit(elapsed, values, kind, scale, with_line=False) for kind, scale in _slowing_shapes()),
        key=lambda fit: fit.misfit if fit.amplitude > 0.0 else math.inf,
    )

    def gain(better: _Fit, worse: _Fit) -> float:
        phi = careful_r1(lag1_autocorrelation(better.residuals, adjacent=series.adjacent), n)
        return n / variance_inflation(phi) * math.log((worse.misfit + floor) / (better.misfit + floor))

    has_settled = settled.amplitude > 0.0 and gain(settled, line) >= LEAST_GAIN
    slows_down = slowing.amplitude > 0.0 and gain(slowing, line) >= LEAST_GAIN
    if has_settled and slows_down:
        slows_down = gain(settled, slowing) < LEAST_GAIN
    found = Settling(settled.kind, settled.scale * duration, settled.amplitude, _columns(settled, elapsed))
    return SettlingSearch(found if has_settled else None, slows_down)


def _settled_shapes() -> Iterator[tuple[str, float]]:
    for constant in np.geomspace(0.02, LONGEST_SETTLED_SHARE, 12):
        yield "saturating", float(constant)
    for moment in np.linspace(0.05, 2.0 / 3.0, 38):
        yield "step", float(moment)


def _slowing_shapes() -> Iterator[tuple[str, float]]:
    for constant in np.geomspace(LONGEST_SETTLED_SHARE, 3.0, 8):
        yield "saturating", float(constant)
    for scale in (0.003, 0.01, 0.03, 0.1, 0.3):
        yield "logarithmic", scale


def _shape(kind: str, scale: float, elapsed: FloatArray) -> FloatArray:
    if kind == "saturating":
        return 1.0 - np.exp(-elapsed / scale)
    if kind == "logarithmic":
        return np.log1p(elapsed / scale)
    return (elapsed >= scale).astype(np.float64)


def _fit(elapsed: FloatArray, values: FloatArray, kind: str, scale: float, *, with_line: bool) -> _Fit:
    columns = [np.ones(elapsed.size)]
    if kind != "line":
        columns.append(_shape(kind, scale, elapsed))
    if with_line:
        columns.append(elapsed)
    design = np.column_stack(columns)
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    residuals = np.asarray(values - design @ coefficients, dtype=np.float64)
    return _Fit(float(residuals @ residuals), kind, scale, float(coefficients[1]), residuals)


def _columns(fit: _Fit, elapsed: FloatArray) -> FloatArray:
    shape = _shape(fit.kind, fit.scale, elapsed)
    if fit.kind == "step":
        return shape[:, None]
    # The derivative by the time constant lets the constant be uncertain, so that the error of the slope is honest.
    return np.column_stack((shape, elapsed / fit.scale * (1.0 - shape)))
