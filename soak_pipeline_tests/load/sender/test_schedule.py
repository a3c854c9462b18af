"""The schedule: same plan, same schedule; exact counts, exact mix, smooth arrivals."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.load.sender.schedule import JITTER_SHARE, Entry, UserSchedule, deck_of, user_indices
from soak_pipeline.model.plan import LoadSession, TenantLoad, Window, fairness_session, soak_session
from soak_pipeline.model.traffic import KIND_OF, Kind, Phase
from soak_pipeline_tests.load.example_run import example_plan
from soak_pipeline_tests.policies import MIX


def session_of(users: int, pace_s: float, *durations_s: float, mix: dict[Kind, float] | None = None) -> LoadSession:
    load = TenantLoad(active_users=users, pace_s=pace_s, mix=mix or dict(MIX))
    windows, start_s = [], 0.0
    for index, duration_s in enumerate(durations_s):
        window = Window(
            index=index, phase=Phase.SOAK, start_s=start_s, duration_s=duration_s, settle_s=0.5, loads={"A": load}
        )
        windows.append(window)
        start_s += duration_s
    return LoadSession(name="soak", users={"A": users}, spawn_per_second=10.0, windows=tuple(windows))


def schedules(session: LoadSession, tenant: str = "A", seed: int = 7) -> list[UserSchedule]:
    return [
        UserSchedule(seed=seed, session=session, tenant=tenant, index=index, agents=10)
        for index in range(session.users[tenant])
    ]


def entries(session: LoadSession, seed: int = 7) -> list[list[Entry]]:
    return [list(schedule) for schedule in schedules(session, seed=seed)]


unhurried = settings(deadline=None, max_examples=60)
sessions = st.builds(
    session_of,
    st.integers(1, 20),
    st.floats(0.1, 5.0),
    st.floats(0.2, 10.0),
    st.floats(0.2, 10.0),
)


def test_the_same_plan_gives_the_same_schedule() -> None:
    session = soak_session(example_plan())
    assert entries(session) == entries(session)
    assert entries(session, seed=8) != entries(session, seed=7)


def test_one_request_per_user_and_pace_slot() -> None:
    # 5 users, 10 s, one request per 2 s: five each.
    assert [len(user) for user in entries(session_of(5, 2.0, 10.0))] == [5, 5, 5, 5, 5]


@unhurried
@given(sessions)
def test_the_total_is_the_planned_rate_times_the_time(session: LoadSession) -> None:
    for window in session.windows:
        sent = sum(entry.window == window.index for user in entries(session) for entry in user)
        assert sent == round(window.loads["A"].requests_per_second * window.duration_s)


@unhurried
@given(sessions)
def test_every_time_is_in_its_window_and_ascending(session: LoadSession) -> None:
    for user in entries(session):
        times = [entry.intended_us for entry in user]
        assert times == sorted(times)
        for entry in user:
            window = session.windows[entry.window]
            assert round(window.start_s * 1e6) <= entry.intended_us < round(window.end_s * 1e6)
            assert entry.settled == (entry.intended_us >= round((window.start_s + 0.5) * 1e6))


@unhurried
@given(sessions)
def test_two_requests_of_a_user_within_a_window_keep_their_distance(session: LoadSession) -> None:
    for user in entries(session):
        for before, after in itertools.pairwise(user):
            if before.window == after.window:
                window = session.windows[after.window]
                count = sum(entry.window == after.window for entry in user)
                slot_us = window.duration_s * 1e6 / count
                assert after.intended_us - before.intended_us >= (1 - 2 * JITTER_SHARE) * slot_us - 2


@unhurried
@given(sessions, st.floats(-1.0, 25.0))
def test_what_is_due_by_a_moment_is_what_was_intended_until_then(session: LoadSession, moment_s: float) -> None:
    moment_us = int(moment_s * 1e6)
    for schedule in schedules(session):
        assert schedule.due_by(moment_us) == sum(entry.intended_us <= moment_us for entry in schedule)


@unhurried
@given(sessions)
def test_the_total_counts_every_entry(session: LoadSession) -> None:
    for schedule in schedules(session):
        assert schedule.total == len(list(schedule))


def test_the_mix_of_every_user_is_exact_over_a_cycle() -> None:
    for user in entries(session_of(4, 1.0, 40.0)):
        for start in (0, 20):
            kinds = Counter(KIND_OF[entry.operation] for entry in user[start : start + 20])
            assert kinds == {Kind.ALLOWED: 12, Kind.DENIED: 3, Kind.READ: 2, Kind.VERIFY: 2, Kind.MISC: 1}


@pytest.mark.parametrize(
    ("mix", "size"),
    [
        (dict(MIX), 20),
        ({Kind.ALLOWED: 1.0}, 20),
        ({Kind.ALLOWED: 0.83, Kind.READ: 0.17}, 100),
    ],
)
def test_a_deck_holds_the_shares(mix: dict[Kind, float], size: int) -> None:
    deck = deck_of(mix)
    assert len(deck) == size
    assert Counter(deck) == {kind: round(share * size) for kind, share in mix.items()}


def test_arrivals_of_a_tenant_are_smooth() -> None:
    # 50 users, one request per second: 5 per 100 ms on average. Independent arrivals would vary by a variance of 5.
    times = sorted(entry.intended_us for user in entries(session_of(50, 1.0, 20.0)) for entry in user)
    per_tenth = Counter(time_us // 100_000 for time_us in times)
    per_second = Counter(time_us // 1_000_000 for time_us in times)
    assert len(times) == 1_000
    assert sum((per_tenth[tenth] - 5) ** 2 for tenth in range(200)) / 200 < 3.5
    assert all(44 <= per_second[second] <= 56 for second in range(20))


def test_every_operation_agent_and_tool_is_in_use() -> None:
    sent = [entry for user in entries(session_of(20, 0.5, 100.0)) for entry in user]
    attacks = [entry for entry in sent if KIND_OF[entry.operation] is Kind.DENIED]
    assert len({entry.operation for entry in sent}) == 1 + 5 + 7 + 1 + 5
    pairs = Counter((entry.agent, entry.tool) for entry in attacks)
    assert len(pairs) == 40
    # 600 attacks over 40 pairs: none carries more than three times its part.
    assert max(pairs.values()) <= 45


def test_users_beyond_the_active_ones_rest() -> None:
    session = fairness_session(example_plan(), look=0)
    resting = UserSchedule(seed=7, session=session, tenant="A", index=49, agents=10)
    phases = {session.windows[entry.window].phase for entry in resting}
    assert phases == {Phase.BURST}


def test_user_indices_are_one_range_over_all_tenants() -> None:
    session = LoadSession(name="x", users={"A": 3, "B": 2}, spawn_per_second=1.0, windows=())
    assert user_indices(session) == {"A": range(3), "B": range(3, 5)}


def test_a_long_schedule_is_read_without_being_held() -> None:
    # Four hours at one request per 2 s: the first entries come at once, and the last is known without the others.
    schedule = schedules(session_of(1, 2.0, 14_400.0))[0]
    assert next(iter(schedule)).intended_us < 2_400_000
    assert schedule.due_by(14_399 * 1_000_000) in (7_199, 7_200)
