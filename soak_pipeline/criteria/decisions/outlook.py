"""Whether each kind of request comes up often enough to be judged."""

from __future__ import annotations

import math
from collections.abc import Iterator

from soak_pipeline.analysis.power import fewest_trials
from soak_pipeline.criteria.power.counts import CHANCE, Calls, calls_in, outlook_of
from soak_pipeline.criteria.wording import count, duration
from soak_pipeline.model.plan import Plan, fairness_session, soak_session
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.traffic import KIND_OF, Kind

FEWEST_OF_A_KIND = 30
"""Requests of each kind without which nothing is said about it."""


def outlook(plan: Plan) -> Iterator[Expectation]:
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
