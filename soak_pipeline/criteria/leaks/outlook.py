"""Whether the soak is long enough for leaks to be asked about."""

from __future__ import annotations

from collections.abc import Iterator

from soak_pipeline.analysis.series import resampling_step_s
from soak_pipeline.analysis.trends import FEWEST_POINTS
from soak_pipeline.criteria.wording import count, duration, seconds
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.preview import Expectation, Outlook


def outlook(plan: Plan) -> Iterator[Expectation]:
    """Whether the soak is long enough to be asked, and has enough points."""
    soak_s, least_s = plan.profile.soak_s, plan.thresholds.leak_min_duration_s
    if soak_s < least_s:
        yield Expectation(
            subject="run",
            outlook=Outlook.SKIPPED,
            why=f"a soak of {duration(soak_s)} cannot tell growth from warm-up; leaks are asked about from "
            f"{duration(least_s)}",
            expected=soak_s,
            needed=least_s,
            unit="s",
            remedy=f"{duration(least_s - soak_s)} more would do",
            figures={"extra_run_time_s": least_s - soak_s},
        )
        return
    points = int(soak_s / resampling_step_s(soak_s, plan.profile.telemetry_interval_s)) + 1
    yield Expectation(
        subject="run",
        outlook=Outlook.DECIDABLE if points >= FEWEST_POINTS else Outlook.UNDECIDABLE,
        why=f"about {count(points, 'point')} of each resource in {duration(soak_s)}, at least {FEWEST_POINTS} are "
        "needed",
        expected=float(points),
        needed=float(FEWEST_POINTS),
        unit="points",
        remedy=""
        if points >= FEWEST_POINTS
        else f"telemetry every {seconds(soak_s / FEWEST_POINTS)} or a longer soak would do",
    )
