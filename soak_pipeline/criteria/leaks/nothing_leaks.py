"""Criterion: no resource of the platform grows so that it would run out within the horizon.

Claim: for every resource that a leak would show in, and every process, database or queue that has it, growth projected
over the horizon stays within the declared headroom. PASS is an equivalence: the upper bound of the growth is within the
headroom; that no trend was found is not enough. FAIL needs a significant trend beyond the headroom that is still there
in the last third, so that a warm-up that saturates, a sawtooth and mere wandering do not cry wolf.

Validity guard: asked only of a soak that is long enough. Each expected resource was sampled, without large gaps, by a
process that did not restart; a restart gives memory back and hides a leak, so it is a finding of its own.

Only the platform, its databases and Redis are judged; growth of the load generator belongs to `load_was_valid`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.series import START_TIME_JITTER_S
from soak_pipeline.analysis.trends import GrowthVerdict, judge_growth
from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.leaks.causes import RESTARTS, growth_open, leaks
from soak_pipeline.criteria.leaks.outlook import outlook
from soak_pipeline.criteria.results import closeness, conclude, not_asked, stage_missing, unmeasured
from soak_pipeline.criteria.sources import TELEMETRY, unavailable
from soak_pipeline.criteria.windows import soak_stretch_s
from soak_pipeline.criteria.wording import count, quantity, seconds
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.telemetry import Series, SeriesKey
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.series import LEAK_SERIES, PROCESS_START_SERIES, LeakSeries, Source
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most

PLATFORM_SOURCES = (Source.PLATFORM, Source.DATABASE, Source.REDIS)
CAPABILITY_OF: Mapping[str, str] = {
    "rss_bytes": "metrics",
    "uss_bytes": "metrics",
    "gc_share": "metrics",
    "open_fds": "metrics",
    "threads": "metrics",
    "db_pool_waiters": "metrics",
    "retries_per_request": "metrics",
    "db_connections": "database.audit",
    "db_connections_idle_in_transaction": "database.audit",
    "outbox_pending": "database.audit",
    "table_bytes": "database.audit",
    "stream_length": "redis",
    "consumer_lag": "redis",
    "dead_letter_length": "redis",
    "redis_memory_bytes": "redis",
    "redis_keys": "redis",
}
"""What a target must offer so that a series can be sampled."""

_VERDICT = {Decision.PASS: Verdict.PASS, Decision.FAIL: Verdict.FAIL, Decision.OPEN: Verdict.INCONCLUSIVE}


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges every leak series of every owner; see the module's test plan."""
    least_s = evidence.thresholds.leak_min_duration_s
    if evidence.plan.profile.soak_s < least_s:
        return not_asked(
            CRITERION,
            f"a soak of {seconds(evidence.plan.profile.soak_s)} is too short to tell growth from warm-up; it is asked "
            f"from {seconds(least_s)}",
        )
    stretch = soak_stretch_s(evidence)
    if evidence.soak is None or stretch is None:
        return stage_missing(evidence, CRITERION, "soak", [TELEMETRY])
    findings = [*_growth_findings(evidence, stretch), *_absent_series(evidence), *_restarts(evidence, stretch)]
    hours = evidence.thresholds.leak_horizon_h
    return conclude(
        evidence,
        CRITERION,
        findings,
        passed=f"{count(len(findings), 'resource')} watched for {seconds(stretch[1] - stretch[0])}; none would outgrow "
        f"its headroom within {hours:g} h{_nearest_words(findings)}",
        files=[TELEMETRY],
    )


def _nearest_words(findings: Sequence[Finding]) -> str:
    """Which resource is the nearest to its headroom; nothing where none grew."""
    nearest = max(findings, key=closeness, default=None)
    if nearest is None or nearest.limit is None or nearest.observed is None or nearest.observed <= 0.0:
        return ""
    grown, headroom = quantity(nearest.observed, nearest.unit), quantity(nearest.limit.value, nearest.unit)
    return f"; nearest to it is {nearest.subject} with {grown} of {headroom}"


def _growth_findings(evidence: RunEvidence, stretch: tuple[float, float]) -> list[Finding]:
    findings = []
    watched = {
        key: series
        for key, series in sorted(evidence.telemetry.items())
        if key.series in LEAK_SERIES and key.source in PLATFORM_SOURCES
    }
    for key, series in watched.items():
        leak, headroom = LEAK_SERIES[key.series], evidence.plan.headrooms[key.series]
        inside = series.between(*stretch)
        started = evidence.telemetry.get(SeriesKey(key.source, key.owner, PROCESS_START_SERIES))
        growth = judge_growth(
            inside.times_s,
            inside.values,
            headroom=headroom,
            horizon_s=evidence.thresholds.leak_horizon_h * 3_600.0,
            process_start_s=None if started is None else _at_times(started, inside),
            resolution=_resolution(evidence, leak, headroom, inside),
            family=len(watched),
        )
        finding = _growth_finding(key, leak, growth)
        unseen = _unseen_part(evidence, key, inside, stretch)
        findings.append(_left_open(finding, unseen) if unseen and finding.verdict is Verdict.PASS else finding)
    return findings


def _unseen_part(evidence: RunEvidence, key: SeriesKey, inside: Series, stretch: tuple[float, float]) -> str:
    """Why the series does not speak for the whole soak: its owner came later or went earlier; empty when it does."""
    seen = inside.times_s[np.isfinite(inside.values)]
    slack_s = evidence.thresholds.telemetry_gap_s_max
    if len(seen) and (seen[0] > stretch[0] + slack_s or seen[-1] < stretch[1] - slack_s):
        first, last = (seconds(float(moment - stretch[0])) for moment in (seen[0], seen[-1]))
        return f"{key.owner} was seen only from {first} to {last} of the soak, and may have been replaced"
    return ""


def _left_open(finding: Finding, why: str) -> Finding:
    return msgspec.structs.replace(finding, verdict=Verdict.INCONCLUSIVE, why=f"{finding.why}; but {why}")


def _resolution(evidence: RunEvidence, leak: LeakSeries, headroom: float, inside: Series) -> float | None:
    """Smallest change that the series can show; None leaves it to the values.

    A count can hide growth of less than one. Where one in a soak of this length would already outgrow the headroom, no
    soak of this length could pass: then only growth that shows is judged.
    """
    if leak.unit == "ratio" or _hidden_growth(evidence, inside) > headroom:
        return 0.0
    return None


def _hidden_growth(evidence: RunEvidence, inside: Series) -> float:
    """Growth over the horizon that a count could hide by staying the same all along the soak."""
    duration_s = float(np.ptp(inside.times_s)) if len(inside.times_s) > 1 else 0.0
    return evidence.thresholds.leak_horizon_h * 3_600.0 / duration_s if duration_s else math.inf


def _at_times(started: Series, inside: Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The start time that was last read at or before each sample; the first one before that."""
    if not len(started.times_s):
        return np.full(len(inside.times_s), math.nan)
    position = np.searchsorted(started.times_s, inside.times_s, side="right") - 1
    return started.values[np.maximum(position, 0)]


def _growth_finding(key: SeriesKey, leak: LeakSeries, growth: GrowthVerdict) -> Finding:
    subject = f"{key.owner} {key.series}"
    hours = growth.horizon_s / 3_600.0
    interval = None
    if growth.slope_lower_per_s is not None and growth.slope_upper_per_s is not None:
        interval = (growth.slope_lower_per_s * growth.horizon_s, growth.slope_upper_per_s * growth.horizon_s)
    return Finding(
        subject=subject,
        about=key.series,
        verdict=_VERDICT[growth.decision],
        observed=growth.growth_projected,
        limit=at_most(growth.headroom, leak.unit),
        interval=interval,
        why=_growth_words(key, leak, growth, hours),
        figures=_figures(growth),
    )


def _growth_words(key: SeriesKey, leak: LeakSeries, growth: GrowthVerdict, hours: float) -> str:
    if growth.slope_per_s is None or growth.growth_projected is None:
        return f"{leak.resource} of {key.owner} cannot be judged: {growth.reason}"
    verb = "grew" if growth.slope_per_s >= 0.0 else "shrank"
    per_hour = quantity(abs(growth.slope_per_s) * 3_600.0, leak.unit)
    interval = " to ".join(
        quantity((bound or 0.0) * 3_600.0, leak.unit) for bound in (growth.slope_lower_per_s, growth.slope_upper_per_s)
    )
    limit = f"limit {quantity(growth.headroom, leak.unit)} in {hours:g} h"
    projected = quantity(abs(growth.growth_projected), leak.unit)
    words = (
        f"{leak.resource} of {key.owner} {verb} by {per_hour} per hour (95 % interval of the growth {interval}), which "
        f"is {projected} in {hours:g} h, {limit}"
    )
    if growth.decision is Decision.FAIL and growth.exhaustion_s is not None:
        return f"{words}; used up after {growth.exhaustion_s / 3_600.0:.1f} h"
    return f"{words}: {growth.reason}" if growth.decision is Decision.OPEN else words


def _figures(growth: GrowthVerdict) -> dict[str, float | int | str | None]:
    return {
        "shape": growth.shape,
        "points": growth.points,
        "duration_s": growth.duration_s,
        "coverage_share": growth.coverage_share,
        "restarts": growth.restarts,
        "slope_per_hour": _hourly(growth.slope_per_s),
        "slope_per_hour_lower": _hourly(growth.slope_lower_per_s),
        "slope_per_hour_upper": _hourly(growth.slope_upper_per_s),
        "slope_per_hour_last_third": _hourly(growth.slope_last_third_per_s),
        "slope_per_hour_detectable": _hourly(growth.detectable_slope_per_s),
        "growth_projected_upper": growth.growth_projected_upper,
        "exhaustion_h": None if growth.exhaustion_s is None else growth.exhaustion_s / 3_600.0,
        "exhaustion_h_earliest": None
        if growth.exhaustion_earliest_s is None
        else growth.exhaustion_earliest_s / 3_600.0,
        "p_value_growth": growth.p_value_growth,
        "p_value_mann_kendall": growth.p_value_mann_kendall,
        "effect_sd": None if growth.effect_sd is None or math.isinf(growth.effect_sd) else growth.effect_sd,
    }


def _hourly(slope_per_s: float | None) -> float | None:
    return None if slope_per_s is None else slope_per_s * 3_600.0


def _absent_series(evidence: RunEvidence) -> list[Finding]:
    """A finding for each expected series that no owner has."""
    seen = {key.series for key in evidence.telemetry if key.source in PLATFORM_SOURCES}
    findings = []
    for name, leak in LEAK_SERIES.items():
        if name in seen or not leak.is_expected:
            continue
        reason = unavailable(evidence, CAPABILITY_OF.get(name, "metrics")) or "no sample of it was taken"
        findings.append(unmeasured(name, f"{leak.resource} ({name}) was not watched: {reason}", name))
    return findings


def _restarts(evidence: RunEvidence, stretch: tuple[float, float]) -> list[Finding]:
    """A finding for each process that restarted during the soak."""
    findings = []
    for key, series in sorted(evidence.telemetry.items()):
        if key.series != PROCESS_START_SERIES or key.source not in PLATFORM_SOURCES:
            continue
        values = series.between(*stretch).values
        known = values[np.isfinite(values)]
        restarts = int((np.abs(np.diff(known)) > START_TIME_JITTER_S).sum())
        if restarts:
            findings.append(
                Finding(
                    subject=f"{key.owner} restarts",
                    about=RESTARTS,
                    verdict=Verdict.FAIL,
                    observed=float(restarts),
                    limit=at_most(0.0, "restarts"),
                    why=f"{key.owner} restarted {count(restarts, 'time')} during the soak, limit 0; a restart gives "
                    "resources back and hides a leak",
                )
            )
    return findings


def _needs(plan: Plan) -> Iterator[Need]:
    if plan.profile.soak_s >= plan.thresholds.leak_min_duration_s:
        for name, series in LEAK_SERIES.items():
            if series.is_expected:
                yield Need(series.resource, (CAPABILITY_OF.get(name, "metrics"),))


CRITERION = Criterion(
    name="nothing_leaks",
    short="leaks",
    question="Would every resource of the platform last for the horizon if it went on as in the soak?",
    rests_on=("soak",),
    judge=judge,
    cause_of_fail=leaks,
    cause_of_open=growth_open,
    needs=_needs,
    outlook=outlook,
)
