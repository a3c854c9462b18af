"""`quiet_tenants_are_protected`: enough calls in every window, enough windows, and a burst that is one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from soak_pipeline.analysis.decision import Side
from soak_pipeline.analysis.fairness import pairs_needed, pass_probability
from soak_pipeline.analysis.phases import FEWEST_SUB_WINDOWS as FEWEST_CLASSIC
from soak_pipeline.analysis.phases import LARGEST_UNUSABLE_SHARE, whole_sub_windows
from soak_pipeline.analysis.power import chance_of_at_least, fewest_trials, log_ratio_sd
from soak_pipeline.analysis.proportions import rise_against_margin
from soak_pipeline.criteria.fairness.decision import ALPHA, SHARE, sub_window_length_s
from soak_pipeline.criteria.fairness.samples import JUDGED_KIND, MINIMUM_SAMPLES, look_plan, quiet_tenants
from soak_pipeline.criteria.fairness.tables import FEWEST_SUB_WINDOWS
from soak_pipeline.criteria.power.counts import CHANCE, EDGE_SHARE, Calls, calls_in, outlook_of
from soak_pipeline.criteria.windows import FairnessWindows, fairness_windows, seconds_of
from soak_pipeline.criteria.wording import count, seconds, share
from soak_pipeline.model.plan import Plan, TenantLoad
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.profile import FEWEST_PAIRS, FairnessOrder
from soak_pipeline.model.traffic import Phase

POWER_AIM = 0.90
"""Chance with which a tenant without any effect should be recognised; below it the answer is uncertain."""
CLASSIC_LOSS = 4
"""Removing a drift from two long phases costs as much as having a quarter of the sub-windows: the phase and the time
correlate by sqrt(3)/2."""


def outlook(plan: Plan) -> Iterator[Expectation]:
    """Pressure, then each quiet tenant's p99 and errors, then the long burst where one is planned."""
    fairness = plan.profile.fairness
    yield _pressure(plan)
    if fairness.order != FairnessOrder.CLASSIC and fairness.pairs_by_look[0] < FEWEST_PAIRS:
        yield _too_few_pairs(plan)
        return
    windows = fairness_windows(plan, 1)
    for name in quiet_tenants(plan):
        load = windows.pairs[0].baseline.window.loads[name]
        classic = fairness.order == FairnessOrder.CLASSIC
        yield _classic(plan, name, load) if classic else _paired(plan, name, load)
        yield _errors(plan, name, load)
    if windows.long_burst is not None and fairness.order != FairnessOrder.CLASSIC:
        name = quiet_tenants(plan)[0]
        yield _long_burst(plan, windows.pairs[0].baseline.window.loads[name])


def _pressure(plan: Plan) -> Expectation:
    fairness = plan.profile.fairness
    before, during = (
        users / fairness.noisy_pace_s for users in (fairness.noisy_users_baseline, fairness.noisy_users_burst)
    )
    presses = during > before
    return Expectation(
        subject="pressure",
        outlook=Outlook.DECIDABLE if presses else Outlook.UNDECIDABLE,
        why=f"the noisy tenant goes from {before:,.1f} to {during:,.1f} requests/s in the burst",
        expected=during - before,
        unit="requests/s",
        remedy="" if presses else f"more than {count(fairness.noisy_users_baseline)} noisy users in the burst would do",
    )


def _too_few_pairs(plan: Plan) -> Expectation:
    first = plan.profile.fairness.pairs_by_look[0]
    return Expectation(
        subject="pairs",
        outlook=Outlook.UNDECIDABLE,
        why=f"{count(first, 'pair')} of windows at the first look, an interval needs at least {FEWEST_PAIRS}",
        expected=float(first),
        needed=float(FEWEST_PAIRS),
        unit="pairs",
        remedy=f"{FEWEST_PAIRS} pairs at the first look would do",
        figures={"pairs": FEWEST_PAIRS},
    )


def _paired(plan: Plan, name: str, load: TenantLoad) -> Expectation:
    """Every window needs its samples; then the spread that so many samples have says what the pairs can tell."""
    fairness, looks = plan.profile.fairness, look_plan(plan)
    calls = calls_in(load, JUDGED_KIND, fairness.window_s - fairness.settle_s, edges=1)
    outlook = outlook_of(calls.chance_of(MINIMUM_SAMPLES, 2 * looks.cap), calls.chance_of(MINIMUM_SAMPLES))
    why = (
        f"about {count(calls.expected, 'executed call')} in each of {2 * looks.cap} windows, its p99 needs "
        f"{MINIMUM_SAMPLES} in each"
    )
    remedy, figures = "", dict[str, float]()
    if outlook is not Outlook.DECIDABLE:
        remedy, figures = _longer_windows(plan, load)
    else:
        sd = log_ratio_sd(round(calls.expected), SHARE)
        limit = plan.thresholds_of(name).fairness_latency_p99_ratio_max
        words, power = _power(looks.cap, sd, limit, looks.level)
        why += f"; {words} after {looks.cap} pairs if a pair's ratio spreads by {share(sd)}"
        figures = {"log_ratio_sd_assumed": round(sd, 4), **power}
        if power["pass_share_no_effect"] < POWER_AIM:
            outlook = Outlook.UNCERTAIN
            pairs = pairs_needed(sd, limit=limit, level=looks.level, power=POWER_AIM) if limit > 1.0 else None
            if pairs is not None:
                remedy, figures = f"{pairs} pairs would do", {**figures, "pairs": pairs}
    return _of_tenant(name, outlook, why, calls, remedy, figures)


def _classic(plan: Plan, name: str, load: TenantLoad) -> Expectation:
    fairness = plan.profile.fairness
    length_s = sub_window_length_s(plan)
    calls = calls_in(load, JUDGED_KIND, length_s, edges=2)
    windows = whole_sub_windows(fairness.window_s - fairness.settle_s, length_s)
    usable = chance_of_at_least(MINIMUM_SAMPLES, calls.requests, calls.share)
    fewest = max(FEWEST_CLASSIC, math.ceil(windows * (1.0 - LARGEST_UNUSABLE_SHARE)))
    both = chance_of_at_least(fewest, windows, usable) ** 2
    outlook = outlook_of(both, both)
    why = (
        f"about {count(calls.expected, 'executed call')} in each of {windows} sub-windows per phase, its p99 needs "
        f"{MINIMUM_SAMPLES} in each of at least {FEWEST_CLASSIC}"
    )
    remedy, figures = "", dict[str, float]()
    if outlook is Outlook.DECIDABLE:
        sd = log_ratio_sd(round(calls.expected), SHARE)
        pairs = windows // CLASSIC_LOSS
        words, power = _power(pairs, sd, plan.thresholds_of(name).fairness_latency_p99_ratio_max, ALPHA)
        why += f"; {words} if a sub-window's ratio spreads by {share(sd)}"
        figures = {"log_ratio_sd_assumed": round(sd, 4), **power}
        if power["pass_share_no_effect"] < POWER_AIM:
            outlook = Outlook.UNCERTAIN
    elif calls.share > 0.0:
        window_s = math.ceil(FEWEST_CLASSIC * length_s + fairness.settle_s)
        if window_s > fairness.window_s:
            remedy, figures = f"phases of {seconds(window_s)} would do", {"window_s": float(window_s)}
    return _of_tenant(name, outlook, why, calls, remedy, figures)


def _power(pairs: int, sd: float, limit: float, level: float) -> tuple[str, dict[str, float]]:
    """Chance to PASS without effect, and at half of what the limit allows."""
    half = 1.0 + (limit - 1.0) / 2.0
    chances = {
        ratio: pass_probability(pairs, sd, limit=limit, level=level, true_ratio=ratio) if limit > 0.0 else 0.0
        for ratio in (1.0, max(half, 1e-9))
    }
    none, some = chances.values()
    words = f"a tenant without any effect PASSes in about {share(none)} of runs, one at {half:.2f}x in {share(some)},"
    return words, {"pass_share_no_effect": round(none, 4), "pass_share_half_limit": round(some, 4)}


def _longer_windows(plan: Plan, load: TenantLoad) -> tuple[str, dict[str, float]]:
    """Windows or quiet users that give every window its samples."""
    fairness = plan.profile.fairness
    windows = 2 * fairness.pairs_by_look[-1]
    trials = fewest_trials(MINIMUM_SAMPLES, load.mix.get(JUDGED_KIND, 0.0), 1.0 - (1.0 - CHANCE) / windows)
    if trials is None:
        return "", {}
    judged_s = fairness.window_s - fairness.settle_s
    remedies, figures = [], dict[str, float]()
    if load.requests_per_second > 0.0:
        trials_and_edge = trials + math.ceil(EDGE_SHARE * load.active_users)
        window_s = math.ceil(2.0 * (fairness.settle_s + trials_and_edge / load.requests_per_second)) / 2.0
        remedies.append(f"windows of {seconds(window_s)}")
        figures["window_s"] = window_s
    if judged_s > 0.0:
        # Each user brings its calls, less what may fall over the edge, less one for rounding.
        users = next(
            (
                users
                for users in range(load.active_users + 1, 10_001)
                if math.floor(users / load.pace_s * judged_s) - math.ceil(EDGE_SHARE * users) >= trials
            ),
            None,
        )
        if users is not None:
            remedies.append(f"{users} users per quiet tenant")
            figures["quiet_users"] = users
    return f"{' or '.join(remedies)} would do" if remedies else "", figures


def _errors(plan: Plan, name: str, load: TenantLoad) -> Expectation:
    """Without any error, the rise of the error share must be known to be within its limit.

    A run may end with its first look, when the latencies are decided; later looks bring more requests.
    """
    margin = plan.thresholds_of(name).fairness_error_share_rise_max
    looks = 1 if plan.profile.fairness.order == FairnessOrder.CLASSIC else len(plan.profile.fairness.pairs_by_look)
    first, last = (_requests(load, fairness_windows(plan, taken)) for taken in (1, looks))
    outlook = outlook_of(float(_is_known(*first, margin)), float(_is_known(*last, margin)))
    fewest = min(first)
    remedy, figures = "", dict[str, float]()
    if outlook is not Outlook.DECIDABLE:
        needed = next((number for number in _growing(fewest) if _is_known(number, number, margin)), None)
        if needed is not None and fewest:
            pairs = math.ceil(plan.profile.fairness.pairs_by_look[0] * needed / fewest)
            remedy, figures = f"{pairs} pairs at the first look would do", {"pairs": pairs}
    return Expectation(
        subject=f"tenant {name} errors",
        outlook=outlook,
        why=f"about {count(first[0], 'request')} before and {count(first[1])} during the burst at the first look, to "
        f"know that its share of errors rises by at most {share(margin)}",
        expected=float(fewest),
        unit="requests",
        remedy=remedy,
        figures=figures,
    )


def _requests(load: TenantLoad, windows: FairnessWindows) -> tuple[int, int]:
    """Requests of a quiet tenant before and during the burst."""
    before, during = (
        round(load.requests_per_second * seconds_of(windows.of_phase(phase))) for phase in (Phase.BASELINE, Phase.BURST)
    )
    return before, during


def _is_known(before: int, during: int, margin: float) -> bool:
    return before > 0 and during > 0 and rise_against_margin(0, before, 0, during, margin=margin)[0] is Side.BELOW


def _growing(number: int) -> Iterator[int]:
    """Numbers from `number` on, each 2 % larger, up to a hundred million."""
    number = max(1, number)
    while number < 100_000_000:
        yield number
        number = max(number + 1, math.ceil(number * 1.02))


def _long_burst(plan: Plan, load: TenantLoad) -> Expectation:
    fairness = plan.profile.fairness
    length_s = fairness.window_s - fairness.settle_s
    judged_s = fairness.long_burst_s - fairness.settle_s
    calls = calls_in(load, JUDGED_KIND, length_s, edges=2)
    whole = int(judged_s / length_s + 1e-9) if length_s > 0.0 else 0
    rest = calls_in(load, JUDGED_KIND, judged_s - whole * length_s, edges=2)
    stretches = whole + (rest.chance_of(MINIMUM_SAMPLES) >= CHANCE)
    parts = min(stretches, fairness.pairs_by_look[0])
    enough = parts >= FEWEST_SUB_WINDOWS
    sure = calls.chance_of(MINIMUM_SAMPLES, stretches) if enough else 0.0
    return Expectation(
        subject="long burst",
        outlook=outlook_of(sure, calls.chance_of(MINIMUM_SAMPLES) if enough else 0.0),
        why=f"{count(stretches, 'stretch', 'stretches')} of the long burst and "
        f"{count(fairness.pairs_by_look[0], 'baseline window')} to compare, at least {FEWEST_SUB_WINDOWS} of each with "
        f"{MINIMUM_SAMPLES} calls are needed",
        expected=float(parts),
        needed=float(FEWEST_SUB_WINDOWS),
        unit="stretches",
        remedy=""
        if stretches >= FEWEST_SUB_WINDOWS
        else f"a long burst of {seconds(FEWEST_SUB_WINDOWS * length_s + fairness.settle_s)} would do",
    )


def _of_tenant(
    name: str, outlook: Outlook, why: str, calls: Calls, remedy: str, figures: dict[str, float]
) -> Expectation:
    return Expectation(
        subject=f"tenant {name}",
        outlook=outlook,
        why=why,
        expected=calls.expected,
        needed=float(MINIMUM_SAMPLES),
        unit="calls",
        remedy=remedy,
        figures=figures,
    )
