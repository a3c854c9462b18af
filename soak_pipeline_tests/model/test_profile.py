from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.profile import duration_s_of, scaled
from soak_pipeline.model.traffic import Kind
from soak_pipeline_tests.policies import LEVELS, profile_of


@pytest.mark.parametrize(
    ("name", "users", "soak_s"),
    [("pull_request", 100, 300), ("nightly", 1_000, 3_600), ("pre_release", 2_000, 14_400)],
)
def test_the_levels_have_their_sizes(name: str, users: int, soak_s: float) -> None:
    profile = profile_of(name)
    assert (profile.users, profile.soak_s, profile.pace_s) == (users, soak_s, 2.0)


@pytest.mark.parametrize("name", LEVELS)
def test_the_mix_is_the_same_at_every_size(name: str) -> None:
    assert profile_of(name).mix == {
        Kind.ALLOWED: 0.60,
        Kind.DENIED: 0.15,
        Kind.READ: 0.10,
        Kind.VERIFY: 0.10,
        Kind.MISC: 0.05,
    }


@pytest.mark.parametrize("name", ["nightly", "pre_release"])
def test_fairness_is_the_briefs(name: str) -> None:
    fairness = profile_of(name).fairness
    assert (fairness.quiet_users, fairness.noisy_users_baseline, fairness.noisy_users_burst) == (10, 10, 500)
    classic = profile_of(name, fairness_order="classic").fairness
    assert (classic.window_s, classic.pairs_by_look, classic.long_burst_s) == (600, (1,), 0)
    assert (classic.quiet_users, classic.noisy_users_baseline, classic.noisy_users_burst) == (10, 10, 500)


def test_overrides_replace_the_profiles_numbers() -> None:
    profile = profile_of("smoke", users=7, soak_s=12.0)
    assert (profile.users, profile.soak_s, profile.fairness) == (7, 12.0, profile_of("smoke").fairness)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        profile_of("smoke", scale=0, users=0, soak_s=-1, fairness_order="random")
    assert len(caught.value.problems) == 4
    assert "unknown fairness order 'random'; known: abba, classic" in str(caught.value)


@given(
    name=st.sampled_from(LEVELS),
    scale=st.floats(0.01, 10),
)
def test_a_scale_changes_sizes_and_nothing_else(name: str, scale: float) -> None:
    whole, part = profile_of(name), scaled(profile_of(name), scale)
    assert part.users == max(1, round(whole.users * scale))
    assert part.fairness.noisy_users_burst > part.fairness.noisy_users_baseline >= 1
    assert 1 <= part.fanout.revoked_agents <= part.fanout.agents
    lengths = ("soak_s", "warmup_s", "pace_s", "mix", "request_timeout_s", "telemetry_interval_s")
    assert [getattr(part, field) for field in lengths] == [getattr(whole, field) for field in lengths]
    assert part.fairness.window_s == whole.fairness.window_s
    assert part.fairness.pairs_by_look == whole.fairness.pairs_by_look


def test_scale_one_changes_nothing() -> None:
    assert scaled(profile_of("nightly"), 1.0) == profile_of("nightly")


def test_a_scale_by_hand() -> None:
    part = scaled(profile_of("smoke"), 0.1)
    fairness, fanout = part.fairness, part.fanout
    assert (part.users, part.spawn_per_second, part.agents_per_tenant, part.max_requests_per_second) == (10, 5, 1, 200)
    assert (fairness.quiet_users, fairness.noisy_users_baseline, fairness.noisy_users_burst) == (3, 1, 5)
    assert (fanout.agents, fanout.revoked_agents, fanout.calls_per_agent) == (5, 1, 4)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("60m", 3600), ("4h", 14_400), ("1h30m", 5_400), ("1h1m1s", 3_661)]
)
def test_durations_as_locust_writes_them(text: str, seconds: float) -> None:
    assert duration_s_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5s", "5 minutes", "1.5h", "m", "30m1h"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected a positive duration"):
        duration_s_of(text)
