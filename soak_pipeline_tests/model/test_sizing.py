from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.model.plan import Plan, fairness_session, peak_load, soak_session
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.sizing import (
    FAIRNESS_S,
    PAIRS_FEWEST,
    PHASE_REQUESTS,
    SCALE_LEAST,
    SOAK_S_MOST,
    Capacity,
    burst_requests_per_second,
    fitted,
    scale_for,
    unfitted,
)
from soak_pipeline_tests.policies import GATING, PROVING, SHARES, plan_by, profile_of
from soak_pipeline_tests.target.examples import target

SMOKE = profile_of("smoke")
P99_SAMPLES = 100
P95_SAMPLES = 72


def measured(requests_per_second: float, *, at_cap: bool = False) -> Capacity:
    return Capacity(requests=round(100 * requests_per_second), failed=0, seconds=100.0, at_cap=at_cap)


def plan_of(profile: Profile) -> Plan:
    return plan_by(run_id="20261201T000000Z", target=target(), profile=profile)


rates = st.floats(min_value=1.0, max_value=5_000.0)


def test_only_what_gates_nothing_is_fitted() -> None:
    fits = [name for name, level in PROVING.levels.items() if level.profile.fit_to_machine]
    assert fits == ["smoke"]
    assert not set(fits) & set(GATING)


def test_a_machine_that_was_not_brought_to_its_limit_gets_the_profile_itself() -> None:
    profile, sizing = fitted(SMOKE, SHARES, measured(300, at_cap=True))
    assert (profile, sizing.scale) == (SMOKE, 1.0)


def test_a_machine_with_room_gets_the_profile_itself() -> None:
    # The busiest window sends 4 x 60 + 100 requests/s; 0.13 of 2,620 is 341.
    assert burst_requests_per_second(SMOKE.fairness, tenants=5) == 340.0
    profile, sizing = fitted(SMOKE, SHARES, measured(2_620))
    assert (profile, sizing.scale) == (SMOKE, 1.0)


def test_a_slow_machine_gets_less_load_and_longer_windows() -> None:
    # 0.13 x 680 = 88 of 340 requests/s is 0.259, one step down 0.25: 7.5 -> 8 quiet users, two calls a second each.
    profile, sizing = fitted(SMOKE, SHARES, measured(680))
    fairness = profile.fairness
    assert sizing.scale == 0.25
    # The baseline sends 4 x 16 + 2 = 66 requests/s; a fifth of that is 13.2, or seven users more.
    assert (fairness.quiet_users, fairness.noisy_users_baseline, fairness.noisy_users_burst) == (8, 1, 8)
    # 105 calls at 16/s take 6.6 s, and the window settles for 0.5 s before.
    assert fairness.window_s == 7.1
    # Ten pairs of 14.2 s are within 150 s, and 7 x 7.1 s x 16/s = 795 requests would be enough.
    assert fairness.pairs_by_look == (10,)
    # 0.27 x 680 = 184 requests/s carry all 100 users; E has 5 of them, with 3 executed calls/s: 120 in 40 s.
    assert (profile.users, profile.soak_s) == (100, 40.0)
    assert (profile.fanout.agents, profile.fanout.revoked_agents, profile.agents_per_tenant) == (20, 4, 4)


def test_a_machine_in_between_may_stop_early() -> None:
    # 0.13 x 1,450 = 188 of 340 requests/s: 0.55. 16.5 -> 16 quiet users at 32/s need
    # windows no longer than the own 4 s.
    profile, _ = fitted(SMOKE, SHARES, measured(1_450))
    assert (profile.fairness.window_s, profile.fairness.pairs_by_look) == (4.0, (8, 12))


def test_what_was_measured_is_said_in_one_line() -> None:
    profile, sizing = fitted(SMOKE, SHARES, measured(680))
    assert sizing.in_words(profile) == (
        "this machine carries about 680 requests/s: smoke runs at 0.25 of its size, 10 pairs of windows of 7.1 s, "
        "100 users for 40 s"
    )
    profile, sizing = fitted(SMOKE, SHARES, measured(1_000, at_cap=True))
    assert sizing.in_words(profile).startswith("this machine carries at least 1,000 requests/s: smoke runs at full")


def test_a_machine_that_is_slower_than_the_smallest_size_is_told_so() -> None:
    # The smallest size sends 68 requests/s in a burst, 0.13 of 523.1.
    profile, sizing = fitted(SMOKE, SHARES, measured(523))
    assert not sizing.is_enough
    assert sizing.in_words(profile).endswith("; it is slower than that needs, so answers may stay open")
    assert fitted(SMOKE, SHARES, measured(524))[1].is_enough


def test_what_could_not_be_measured_is_said_and_changes_nothing() -> None:
    sizing = unfitted("none was answered")
    assert (sizing.scale, sizing.capacity) == (1.0, None)
    assert sizing.in_words(SMOKE) == (
        "what this machine carries could not be measured (none was answered): smoke runs at full size"
    )


@settings(deadline=None)
@given(rates)
def test_never_more_load_than_the_profiles_own(rate: float) -> None:
    profile, _ = fitted(SMOKE, SHARES, measured(rate))
    mine, own = peak_load(plan_of(profile)), peak_load(plan_of(SMOKE))
    assert mine[0] <= own[0]
    assert mine[1] <= own[1]
    assert profile.users <= SMOKE.users
    assert profile.fairness.noisy_users_burst <= SMOKE.fairness.noisy_users_burst
    assert profile.fairness.pairs_by_look[-1] <= SMOKE.fairness.pairs_by_look[-1]


@settings(deadline=None)
@given(rates)
def test_every_tenant_has_a_user_and_the_noisy_one_presses(rate: float) -> None:
    plan = plan_of(fitted(SMOKE, SHARES, measured(rate))[0])
    assert min(tenant.soak_users for tenant in plan.tenants) >= 1
    assert min(fairness_session(plan, 0).users.values()) >= 1
    assert plan.profile.fairness.noisy_users_burst >= 2 * plan.profile.fairness.noisy_users_baseline
    assert 1 <= plan.profile.fanout.revoked_agents < plan.profile.fanout.agents


@settings(deadline=None)
@given(rates)
def test_windows_and_soak_have_the_samples_that_the_criteria_need(rate: float) -> None:
    profile, _ = fitted(SMOKE, SHARES, measured(rate))
    fairness = profile.fairness
    assert (fairness.window_s - fairness.settle_s) * fairness.quiet_users / fairness.quiet_pace_s >= P99_SAMPLES
    plan = plan_of(profile)
    soak = soak_session(plan).windows[-1]
    fewest = min(load.requests_per_second for load in soak.loads.values()) * 0.6 * soak.duration_s
    assert fewest >= P95_SAMPLES or profile.soak_s == SOAK_S_MOST


@settings(deadline=None)
@given(rates)
def test_the_time_is_bounded(rate: float) -> None:
    profile, _ = fitted(SMOKE, SHARES, measured(rate))
    fairness = profile.fairness
    pairs = fairness.pairs_by_look[0]
    assert pairs >= PAIRS_FEWEST
    requests = pairs * fairness.window_s * fairness.quiet_users / fairness.quiet_pace_s
    assert requests >= PHASE_REQUESTS
    assert 2 * pairs * fairness.window_s <= FAIRNESS_S or requests * (pairs - 1) / pairs < PHASE_REQUESTS
    # Whatever was measured.
    assert 2 * pairs * fairness.window_s <= 150.0


@settings(deadline=None)
@given(rates, rates)
def test_a_faster_machine_never_gets_less(one: float, other: float) -> None:
    slow, fast = (fitted(SMOKE, SHARES, measured(rate)) for rate in sorted((one, other)))
    assert slow[1].scale <= fast[1].scale
    assert slow[0].users <= fast[0].users
    assert slow[0].fairness.quiet_users <= fast[0].fairness.quiet_users
    assert slow[0].fairness.noisy_users_burst <= fast[0].fairness.noisy_users_burst
    assert slow[0].fairness.window_s >= fast[0].fairness.window_s


@settings(deadline=None)
@given(rates)
def test_scales_are_whole_steps(rate: float) -> None:
    steps = scale_for(SMOKE, 5, measured(rate)) * 20
    assert steps == pytest.approx(round(steps))
    assert SCALE_LEAST * 20 <= round(steps) <= 20


@settings(deadline=None)
@given(rates)
def test_nothing_but_load_time_and_pairs_is_changed(rate: float) -> None:
    profile, _ = fitted(SMOKE, SHARES, measured(rate))
    assert (profile.mix, profile.pace_s, profile.fit_to_machine) == (SMOKE.mix, SMOKE.pace_s, True)
    assert profile.fairness.settle_s == SMOKE.fairness.settle_s
    assert profile.fairness.quiet_mix == SMOKE.fairness.quiet_mix


def test_the_classic_order_keeps_its_two_windows() -> None:
    classic = profile_of("smoke", fairness_order="classic")
    profile, sizing = fitted(classic, SHARES, measured(680))
    assert (profile.fairness.window_s, profile.fairness.pairs_by_look) == (600.0, (1,))
    assert profile.fairness.quiet_users == 8
    assert "two windows of 600 s" in sizing.in_words(profile)


@settings(deadline=None)
@given(st.integers(min_value=len(SHARES), max_value=500), rates)
def test_what_the_operator_asked_for_is_a_bound_as_well(users: int, rate: float) -> None:
    asked = msgspec.structs.replace(SMOKE, users=users)
    assert fitted(asked, SHARES, measured(rate))[0].users <= users
