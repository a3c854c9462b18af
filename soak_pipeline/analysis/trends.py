"""Does a resource grow beyond what it may?

Owns the composition of the trend methods into one three-valued answer. PASS is an equivalence: the upper bound of the
growth over the horizon stays within the headroom; "no trend found" is not PASS. FAIL needs a trend that is significant
under autocorrelated noise, at least as large as the noise, still there in the last third, and beyond the headroom when
projected. It never knows what the series is, in which unit, or whose process it belongs to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from soak_pipeline.analysis.decision import AT_LIMIT_TOLERANCE, Decision
from soak_pipeline.analysis.dependence import variance_inflation
from soak_pipeline.analysis.series import (
    Series,
    cleaned,
    coverage_share,
    longest_process_life,
    lower_envelope,
    resampled,
    sawtooth_drops,
)
from soak_pipeline.analysis.settling import Settling, find_settling
from soak_pipeline.analysis.slopes import (
    MannKendall,
    SlopeEstimate,
    estimate_slope,
    estimate_slope_beside,
    mann_kendall,
)

FEWEST_POINTS = 20
FEWEST_TROUGHS = 6
LEAST_COVERAGE_SHARE = 0.8
# A smaller rise of a counter is as well the beginning of a leak, and is charged as growth that may come again.
FEWEST_COUNTS_OF_A_SETTLING = 5.0
# A FAIL needs all of these. They are calibrated so that a series that only wanders (AR(1) up to 0.95) fails in at most
# 1 of 100 runs even where its headroom is nothing; see `calibration`.
SIGNIFICANCE = 0.001
SIGNIFICANCE_MANN_KENDALL = 0.025
LEAST_EFFECT_SD = 1.0
LEAST_EFFECTIVE_POINTS = 4.0
# Noise does not wander thirty of its own deviations away in one run. Such a rise needs neither the rank test nor many
# independent points, neither of which can be had in a short run where the rise itself leaves dependent residuals.
OVERWHELMING_EFFECT_SD = 30.0
BOUND_CONFIDENCE_ONE_SIDED = 0.95
# A shape that was picked because it fits leaves too little noise; the bound beside it has to make up for that.
BOUND_CONFIDENCE_ONE_SIDED_SETTLED = 0.99
DETECTION_POWER = 0.90


@dataclass(frozen=True, slots=True)
class GrowthVerdict:
    """Answer and figures for one series; slopes in units per second, times in seconds, values in the series' unit.

    `shape` is what was fitted: "line", "saturating" or "step" (the slope is what grows beside them), "sawtooth" (the
    slope is that of the troughs), or "none" where there was too little to fit. `is_slowing_down` marks a rise that may
    be the rest of a warm-up. `slope_lower_per_s` and `slope_upper_per_s` are a two-sided 90 % interval (98 % beside a
    settling shape), widened by the resolution of the series.
    `growth_projected` is the slope over the horizon and `growth_projected_upper` its upper bound.
    `exhaustion_s` is the time until the projected growth uses up the headroom, `exhaustion_earliest_s` the same by the
    upper bound; None where it does not grow. `detectable_slope_per_s` is the smallest leak that this run would have
    recognised as growth with a chance of 0.9. `significance` is the level that a FAIL needed. Figures are None where
    nothing could be fitted.
    """

    decision: Decision
    reason: str
    shape: str
    points: int
    duration_s: float
    step_s: float
    coverage_share: float
    restarts: int
    drops: int
    is_slowing_down: bool
    headroom: float
    horizon_s: float
    significance: float
    slope_per_s: float | None = None
    slope_lower_per_s: float | None = None
    slope_upper_per_s: float | None = None
    slope_last_third_per_s: float | None = None
    growth_projected: float | None = None
    growth_projected_upper: float | None = None
    p_value_growth: float | None = None
    p_value_mann_kendall: float | None = None
    phi: float | None = None
    noise_sd: float | None = None
    effect_sd: float | None = None
    exhaustion_s: float | None = None
    exhaustion_earliest_s: float | None = None
    detectable_slope_per_s: float | None = None


def judge_growth(
    times_s: ArrayLike,
    values: ArrayLike,
    *,
    headroom: float,
    horizon_s: float = 86_400.0,
    process_start_s: ArrayLike | None = None,
    resolution: float | None = None,
    family: int = 1,
) -> GrowthVerdict:
    """Judge whether a series grows by more than `headroom` over `horizon_s`.

    Args:
        times_s: sample times in seconds on one monotonic clock, any order.
        values: the resource at each time; NaN where a sample was missed.
        headroom: growth that is allowed over the horizon, in the unit of the values, above 0.
        horizon_s: how far to look ahead, in seconds; a day by default.
        process_start_s: start time of the owning process at each sample, to cut at restarts; None if unknown.
        resolution: smallest change that the series can show; None takes 1 for whole numbers and 0 otherwise. Growth
            below one such step over the run cannot be seen and is never claimed to be absent.
        family: number of series that are judged together, of which any FAIL fails all. The significance that a FAIL
            needs is divided by it (Bonferroni), so that watching more resources does not raise more false alarms.

    Returns: the verdict with its reason. OPEN for a series that is too short, has too many gaps, or cannot tell.

    Raises ValueError for unequal lengths, times that are not finite, or headroom or horizon that are not above zero.
    """
    if not (headroom > 0.0 and math.isfinite(headroom)) or not (horizon_s > 0.0 and math.isfinite(horizon_s)):
        raise ValueError(f"headroom {headroom} and horizon_s {horizon_s} must be above 0 and finite")
    if family < 1:
        raise ValueError(f"family: {family}, must be at least 1")
    life_times, life_values, restarts = longest_process_life(times_s, values, process_start_s)
    raw = cleaned(life_times, life_values)
    series = resampled(raw)
    base = GrowthVerdict(
        decision=Decision.OPEN,
        reason="",
        shape="none",
        points=int(series.times_s.size),
        duration_s=raw.duration_s,
        step_s=series.step_s,
        coverage_share=coverage_share(series),
        restarts=restarts,
        drops=0,
        is_slowing_down=False,
        headroom=headroom,
        horizon_s=horizon_s,
        significance=SIGNIFICANCE / family,
    )
    if base.points < FEWEST_POINTS:
        return replace(
            base, reason=f"{base.points} points in {base.duration_s:.0f} s, at least {FEWEST_POINTS} are needed"
        )
    if base.coverage_share < LEAST_COVERAGE_SHARE:
        return replace(
            base,
            reason=f"{100 * base.coverage_share:.0f} % of the time is covered, at least "
            f"{100 * LEAST_COVERAGE_SHARE:.0f} % is needed",
        )
    if resolution is None:
        resolution = 1.0 if bool(np.all(raw.values == np.round(raw.values))) else 0.0
    drops = sawtooth_drops(raw)
    if drops.size >= FEWEST_TROUGHS:
        return _judge_line(
            replace(base, shape="sawtooth", drops=int(drops.size)), lower_envelope(raw, drops), resolution
        )
    search = find_settling(series)
    base = replace(base, is_slowing_down=search.is_slowing_down)
    if search.settled is not None and not drops.size:
        return _judge_settling(replace(base, shape=search.settled.kind), series, search.settled, resolution)
    return _judge_line(replace(base, shape="line", drops=int(drops.size)), series, resolution)


def _judge_line(base: GrowthVerdict, series: Series, resolution: float) -> GrowthVerdict:
    slope = estimate_slope(series)
    return _judge(base, series, slope, mann_kendall(series.values, phi=slope.phi), resolution)


def _judge_settling(base: GrowthVerdict, series: Series, settling: Settling, resolution: float) -> GrowthVerdict:
    slope = estimate_slope_beside(series, settling.columns)
    is_small = settling.amplitude < FEWEST_COUNTS_OF_A_SETTLING * resolution
    return _judge(base, series, slope, None, resolution + (settling.amplitude if is_small else 0.0))


def _judge(
    base: GrowthVerdict, series: Series, slope: SlopeEstimate, trend: MannKendall | None, unseen: float
) -> GrowthVerdict:
    """Compose figures and decision; `unseen` is growth over the run that the slope cannot show, in the series' unit."""
    horizon_s, headroom, duration_s = base.horizon_s, base.headroom, slope.duration_s
    unseen_per_s = unseen / duration_s
    has_settled = base.shape in ("saturating", "step")
    confidence = BOUND_CONFIDENCE_ONE_SIDED_SETTLED if has_settled else BOUND_CONFIDENCE_ONE_SIDED
    half_per_s = slope.half_width_per_s(confidence) + unseen_per_s
    lower, upper = slope.slope_per_s - half_per_s, slope.slope_per_s + half_per_s
    last_third = _last_third(series)
    detectable = unseen_per_s + max(
        slope.half_width_per_s(1.0 - base.significance) + slope.half_width_per_s(DETECTION_POWER),
        LEAST_EFFECT_SD * slope.noise_sd / duration_s,
    )
    figures = replace(
        base,
        slope_per_s=slope.slope_per_s,
        slope_lower_per_s=lower,
        slope_upper_per_s=upper,
        slope_last_third_per_s=None if last_third is None else last_third.slope_per_s,
        growth_projected=slope.slope_per_s * horizon_s,
        growth_projected_upper=upper * horizon_s,
        p_value_growth=slope.p_value_growth,
        p_value_mann_kendall=None if trend is None else trend.p_value_growth,
        phi=slope.phi,
        noise_sd=slope.noise_sd,
        effect_sd=slope.effect_sd,
        exhaustion_s=headroom / slope.slope_per_s if slope.slope_per_s > 0.0 else None,
        exhaustion_earliest_s=headroom / upper if upper > 0.0 else None,
        detectable_slope_per_s=detectable,
    )
    decision, reason = _decide(figures, last_third)
    return replace(figures, decision=decision, reason=reason)


def _last_third(series: Series) -> SlopeEstimate | None:
    """Slope of the last third of the time; None where it holds fewer than five points."""
    tail = series.after(series.times_s[0] + series.duration_s * 2.0 / 3.0)
    return estimate_slope(tail) if tail.times_s.size >= 5 else None


def _decide(figures: GrowthVerdict, last_third: SlopeEstimate | None) -> tuple[Decision, str]:
    horizon_s, headroom = figures.horizon_s, figures.headroom
    upper = figures.growth_projected_upper or 0.0
    lower = (figures.slope_lower_per_s or 0.0) * horizon_s
    if upper <= headroom * (1.0 + AT_LIMIT_TOLERANCE):
        if last_third is not None and _grows_late(last_third, figures):
            return Decision.OPEN, "growth over the whole run is within the headroom, but the last third grows faster"
        return (
            Decision.PASS,
            f"upper bound of growth {upper:g} over {horizon_s:g} s is at most the headroom {headroom:g}",
        )
    if lower <= headroom * (1.0 + AT_LIMIT_TOLERANCE):
        return Decision.OPEN, "its interval reaches from within the headroom to beyond it"
    if doubt := _doubt(figures):
        return Decision.OPEN, f"it grew, but not significantly in this run: {doubt}"
    if figures.shape == "line" and figures.drops:
        return Decision.OPEN, f"it grows, but only {figures.drops} clean-ups were seen; a longer run can tell"
    if figures.is_slowing_down:
        return Decision.OPEN, "it grows, but slows down like a warm-up that has not ended; a longer run can tell"
    if last_third is not None and last_third.slope_per_s * horizon_s <= headroom:
        return Decision.OPEN, "it grew, but in the last third by no more than the headroom allows"
    return Decision.FAIL, f"lower bound of growth {lower:g} over {horizon_s:g} s is above the headroom {headroom:g}"


def _doubt(figures: GrowthVerdict) -> str:
    """Why growth does not stand out from wandering noise: by slope, size, rank or independent data; "" if it does."""
    p_value, effect_sd, rank = figures.p_value_growth or 0.0, figures.effect_sd or 0.0, figures.p_value_mann_kendall
    if p_value >= figures.significance:
        return f"p of its slope is {p_value:.2g}, less than {figures.significance:.2g} is needed"
    if effect_sd < LEAST_EFFECT_SD:
        return f"by {effect_sd:.1f} deviations of its noise, at least {LEAST_EFFECT_SD:g} are needed"
    if effect_sd >= OVERWHELMING_EFFECT_SD:
        return ""
    if rank is not None and rank >= SIGNIFICANCE_MANN_KENDALL:
        return f"p of its ranks is {rank:.2g}, less than {SIGNIFICANCE_MANN_KENDALL:g} is needed"
    effective_points = figures.points / variance_inflation(figures.phi or 0.0)
    if effective_points < LEAST_EFFECTIVE_POINTS:
        return f"it is worth {effective_points:.1f} independent points, at least {LEAST_EFFECTIVE_POINTS:g} are needed"
    return ""


def _grows_late(last_third: SlopeEstimate, figures: GrowthVerdict) -> bool:
    """Whether the last third alone grows significantly and beyond the headroom."""
    return (
        last_third.p_value_growth < SIGNIFICANCE
        and last_third.effect_sd >= LEAST_EFFECT_SD
        and last_third.slope_per_s * figures.horizon_s > figures.headroom
    )
