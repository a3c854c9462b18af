"""The criteria that ask whether something was exercised at all: decisions, leaks, fan-out, validity of the load."""

from __future__ import annotations

import math
from collections.abc import Iterator

from soak_pipeline.analysis.percentiles import minimum_samples
from soak_pipeline.analysis.power import chance_of_at_least, fewest_trials
from soak_pipeline.analysis.series import resampling_step_s
from soak_pipeline.analysis.trends import FEWEST_POINTS
from soak_pipeline.criteria import decisions_are_correct, fanout_is_correct, load_was_valid, nothing_leaks
from soak_pipeline.criteria.decisions_are_correct import FEWEST_OF_A_KIND
from soak_pipeline.criteria.fanout_is_correct import calls_at_once_needed
from soak_pipeline.criteria.latency_tables import JUDGED_KIND, JUDGED_SHARE
from soak_pipeline.criteria.power.counts import CHANCE, Calls, calls_in, outlook_of
from soak_pipeline.criteria.wording import count, duration, seconds
from soak_pipeline.model.plan import FANOUT_PARTS, Plan, fairness_session, soak_session
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.traffic import KIND_OF, Kind


def decision_expectations(plan: Plan) -> Iterator[Expectation]:
    """Each kind of the mix often enough over the whole load, and allowed and denied calls of each tenant."""
    for kind, part in plan.profile.mix.items():
        if part > 0.0:
            yield _kind_expectation(plan, kind)
    wanted = [kind for kind in (Kind.ALLOWED, Kind.DENIED) if plan.profile.mix.get(kind, 0.0) > 0.0]
    for tenant in plan.tenants:
        calls = {kind: _calls_of(plan, kind, tenant.name) for kind in wanted}
        if not calls:
            continue
        rarest = min(calls, key=lambda kind: calls[kind].expected)
        chance = calls[rarest].chance_of(1)
        yield Expectation(
            criterion=decisions_are_correct.NAME,
            subject=f"tenant {tenant.name}",
            outlook=outlook_of(chance, chance),
            why=f"about {count(calls[rarest].expected, f'{rarest.value} call')} over the load, at least 1 is needed",
            expected=calls[rarest].expected,
            needed=1.0,
            unit="requests",
            remedy="" if chance >= CHANCE else "a longer soak, or more users for it, would do",
        )


def _kind_expectation(plan: Plan, kind: Kind) -> Expectation:
    calls = _calls_of(plan, kind)
    operations = sum(1 for of_kind in KIND_OF.values() if of_kind is kind)
    needed = max(FEWEST_OF_A_KIND, _to_meet_each(operations))
    outlook = outlook_of(calls.chance_of(needed), calls.chance_of(FEWEST_OF_A_KIND))
    remedy, figures = "", dict[str, float]()
    per_s = sum(
        load.requests_per_second * load.mix.get(kind, 0.0) for load in soak_session(plan).windows[-1].loads.values()
    )
    if outlook is not Outlook.DECIDABLE and per_s > 0.0:
        trials = fewest_trials(needed, calls.share, CHANCE)
        if trials is not None:
            extra_s = 5.0 * math.ceil((trials - calls.requests) * calls.share / per_s / 5.0)
            remedy, figures = f"{duration(extra_s)} more would do", {"extra_run_time_s": extra_s}
    return Expectation(
        criterion=decisions_are_correct.NAME,
        subject=f"{kind.value} requests",
        outlook=outlook,
        why=f"about {count(calls.expected)} over the load, at least {FEWEST_OF_A_KIND} of each kind are needed, and "
        "every operation once",
        expected=calls.expected,
        needed=float(FEWEST_OF_A_KIND),
        unit="requests",
        remedy=remedy,
        figures=figures,
    )


def _to_meet_each(operations: int) -> int:
    """Requests after which every one of so many operations has come up, with the usual chance, in any order."""
    if operations < 2:
        return 1
    return math.ceil(math.log((1.0 - CHANCE) / operations) / math.log(1.0 - 1.0 / operations))


def _calls_of(plan: Plan, kind: Kind, tenant: str | None = None) -> Calls:
    """Requests of the load that is sent in any case: the first look of the fairness windows, and the soak."""
    parts = [
        calls_in(load, kind, window.duration_s, edges=0)
        for session in (fairness_session(plan, 0), soak_session(plan))
        for window in session.windows
        for name, load in window.loads.items()
        if tenant in (None, name)
    ]
    requests = sum(part.requests for part in parts)
    return Calls(requests, sum(part.expected for part in parts) / requests if requests else 0.0)


def leak_expectations(plan: Plan) -> Iterator[Expectation]:
    """Whether the soak is long enough to be asked, and has enough points."""
    soak_s, least_s = plan.profile.soak_s, plan.thresholds.leak_min_duration_s
    if soak_s < least_s:
        yield Expectation(
            criterion=nothing_leaks.NAME,
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
        criterion=nothing_leaks.NAME,
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


def fanout_expectations(plan: Plan) -> Iterator[Expectation]:
    """Whether the calls of the fan-out can overlap, and whether permissions are revoked at all."""
    fanout = plan.profile.fanout
    calls = fanout.agents * fanout.calls_per_agent * FANOUT_PARTS
    needed = calls_at_once_needed(fanout.agents)
    possible = calls > 0 and fanout.agents >= needed
    yield Expectation(
        criterion=fanout_is_correct.NAME,
        subject="concurrency",
        outlook=Outlook.DECIDABLE if possible else Outlook.UNDECIDABLE,
        why=f"{count(calls, 'call')} of {count(fanout.agents, 'agent')}, at least {needed:.0f} under way at "
        "once are needed",
        expected=float(fanout.agents),
        needed=needed,
        unit="calls",
        remedy="" if possible else f"{needed:.0f} agents with a call each would do",
    )
    if not fanout.revoked_agents:
        yield Expectation(
            criterion=fanout_is_correct.NAME,
            subject="revocation",
            outlook=Outlook.SKIPPED,
            why="no permission is revoked",
            remedy="a revoked agent would do",
        )


def validity_expectations(plan: Plan) -> Iterator[Expectation]:
    """Executed calls of the tenant that has the fewest, and telemetry without gaps."""
    needed = minimum_samples(JUDGED_SHARE)
    loads = soak_session(plan).windows[-1].loads
    calls = {name: calls_in(load, JUDGED_KIND, plan.profile.soak_s, edges=0) for name, load in loads.items()}
    fewest = min(calls, key=lambda name: calls[name].expected)
    chance = chance_of_at_least(needed, calls[fewest].requests, calls[fewest].share)
    yield Expectation(
        criterion=load_was_valid.NAME,
        subject=f"samples of tenant {fewest}",
        outlook=outlook_of(chance, chance),
        why=f"about {count(calls[fewest].expected, 'executed call')} in the soak, the fewest of any tenant; at least "
        f"{needed} are needed",
        expected=calls[fewest].expected,
        needed=float(needed),
        unit="requests",
        remedy="" if chance >= CHANCE else "what helps its p95 would do",
    )
    interval_s, gap_s = plan.profile.telemetry_interval_s, plan.thresholds.telemetry_gap_s_max
    if interval_s > gap_s:
        yield Expectation(
            criterion=load_was_valid.NAME,
            subject="telemetry",
            outlook=Outlook.UNDECIDABLE,
            why=f"a sample every {seconds(interval_s)}, a gap may last {seconds(gap_s)}",
            expected=interval_s,
            needed=gap_s,
            unit="s",
            remedy=f"an interval of at most {seconds(gap_s)} would do",
        )
