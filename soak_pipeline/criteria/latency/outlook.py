"""`gateway_p95_is_under_slo`: enough executed calls of every tenant, over the soak and in each five minutes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from soak_pipeline.analysis.percentiles import minimum_samples, window_edges
from soak_pipeline.analysis.power import chance_design_effect, recognised_share_of_limit
from soak_pipeline.criteria.latency.tables import JUDGED_KIND, JUDGED_SHARE, WINDOW_S
from soak_pipeline.criteria.power.counts import CHANCE, Calls, calls_in, outlook_of
from soak_pipeline.criteria.wording import count, duration, share
from soak_pipeline.model.plan import Plan, TenantLoad, TenantPlan, soak_session
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.profile import MAX_USERS
from soak_pipeline.model.tenants import split_by_share

STEP_S = 5.0
LONGEST_EXTENSION_S = 3_600.0


class _Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant's soak of a length offers: calls of the shortest window, of all of it, and the outlook."""

    windows: int
    shortest: Calls
    whole: Calls
    outlook: Outlook


def outlook(plan: Plan) -> Iterator[Expectation]:
    """One per tenant."""
    loads = soak_session(plan).windows[-1].loads
    for tenant in plan.tenants:
        yield _expectation(plan, tenant, loads[tenant.name])


def _expectation(plan: Plan, tenant: TenantPlan, load: TenantLoad) -> Expectation:
    reach = _reach(load, plan.profile.soak_s)
    needed = minimum_samples(JUDGED_SHARE)
    calls = count(reach.whole.expected, "executed call")
    where = f"about {calls} in the soak"
    if reach.windows > 1:
        where += f", {count(reach.shortest.expected)} in the shortest of its {reach.windows} five-minute windows"
    why = f"{where}, p95 needs {needed}{' in each' if reach.windows > 1 else ''}"
    figures: dict[str, float] = {}
    remedies = []
    if reach.outlook is Outlook.DECIDABLE:
        recognised = recognised_share_of_limit(
            round(reach.shortest.expected), JUDGED_SHARE, windows=reach.windows, chance=0.9
        )
        if recognised is not None:
            figures["recognised_share_of_limit"] = round(recognised, 4)
            why += f"; a p95 of up to {share(recognised)} of its limit is recognised 9 times in 10"
    else:
        extra_s = _extra_run_time_s(load, plan.profile.soak_s)
        if extra_s is not None:
            figures["extra_run_time_s"] = extra_s
            remedies.append(f"{duration(extra_s)} more")
        users = _users(plan, tenant, load)
        if users is not None:
            figures["users"] = users
            remedies.append(f"{count(users)} users in all")
    return Expectation(
        subject=f"tenant {tenant.name}",
        outlook=reach.outlook,
        why=why,
        expected=reach.shortest.expected,
        needed=float(needed),
        unit="calls",
        remedy=f"{' or '.join(remedies)} would do" if remedies else "",
        figures=figures,
    )


def _reach(load: TenantLoad, soak_s: float) -> _Reach:
    lengths = np.diff(window_edges(0.0, soak_s, WINDOW_S))
    shortest_s, windows = float(lengths.min()), len(lengths)
    whole = calls_in(load, JUDGED_KIND, soak_s, edges=0)
    shortest = whole if windows == 1 else calls_in(load, JUDGED_KIND, shortest_s, edges=2)
    needed = minimum_samples(JUDGED_SHARE)
    # Some calls are slow together by chance, and then all of them are worth fewer.
    careful = math.ceil(needed * chance_design_effect(shortest_s, windows, chance=CHANCE))
    outlook = outlook_of(shortest.chance_of(careful, windows), shortest.chance_of(needed))
    return _Reach(windows=windows, shortest=shortest, whole=whole, outlook=outlook)


def _extra_run_time_s(load: TenantLoad, soak_s: float) -> float | None:
    """Shortest extension of the soak, in whole steps, that makes it decidable; None when no hour more does.

    A longer soak is not always better: from seven and a half minutes on, its windows are judged as well.
    """
    for step in range(1, int(LONGEST_EXTENSION_S / STEP_S) + 1):
        if _reach(load, soak_s + step * STEP_S).outlook is Outlook.DECIDABLE:
            return step * STEP_S
    return None


def _users(plan: Plan, tenant: TenantPlan, load: TenantLoad) -> int | None:
    """Fewest virtual users of the soak with which the tenant's share is enough; None beyond what a soak may have."""

    def is_enough(own: int) -> bool:
        return _reach(msgspec.structs.replace(load, active_users=own), plan.profile.soak_s).outlook is Outlook.DECIDABLE

    own = _smallest(is_enough, load.active_users + 1, MAX_USERS)
    if own is None or tenant.share <= 0.0:
        return None
    shares = {other.name: other.share for other in plan.tenants}
    # A part is never more than its share rounded up.
    first = max(plan.profile.users + 1, math.floor((own - 1) / tenant.share))
    return next(
        (users for users in range(first, MAX_USERS + 1) if split_by_share(users, shares, least=1)[tenant.name] >= own),
        None,
    )


def _smallest(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest number from `low` to `high` at which a condition begins to hold; None when it does not at `high`."""
    if low > high or not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
