from __future__ import annotations

import pytest

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.profile import PROFILES, duration_s_of, profile_named
from soak_pipeline.model.traffic import Kind


@pytest.mark.parametrize(
    ("name", "users", "soak_s"),
    [("pull_request", 100, 300), ("nightly", 1_000, 3_600), ("pre_release", 2_000, 14_400)],
)
def test_the_levels_have_their_sizes(name: str, users: int, soak_s: float) -> None:
    profile = PROFILES[name]
    assert (profile.users, profile.soak_s, profile.pace_s) == (users, soak_s, 2.0)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_the_mix_is_the_same_at_every_size(profile: object) -> None:
    assert profile.mix == {  # type: ignore[attr-defined]
        Kind.ALLOWED: 0.60,
        Kind.DENIED: 0.15,
        Kind.READ: 0.10,
        Kind.VERIFY: 0.10,
        Kind.MISC: 0.05,
    }


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_looks_ascend(profile: object) -> None:
    looks = profile.fairness.pairs_by_look  # type: ignore[attr-defined]
    assert looks
    assert list(looks) == sorted(set(looks))


def test_overrides_replace_the_profiles_numbers() -> None:
    profile = profile_named("smoke", users=7, soak_s=12.0)
    assert (profile.users, profile.soak_s, profile.fairness) == (7, 12.0, PROFILES["smoke"].fairness)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        profile_named("tiny", users=0, soak_s=-1, fairness_order="random")
    assert len(caught.value.problems) == 4
    assert "unknown fairness order 'random'; known: abba, classic" in str(caught.value)
    assert "known: smoke, pull_request, nightly, pre_release" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("60m", 3600), ("4h", 14_400), ("1h30m", 5_400), ("1h1m1s", 3_661)]
)
def test_durations_as_locust_writes_them(text: str, seconds: float) -> None:
    assert duration_s_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5s", "5 minutes", "1.5h", "m", "30m1h"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected a positive duration"):
        duration_s_of(text)
