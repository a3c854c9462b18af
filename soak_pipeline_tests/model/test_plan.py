from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.plan import (
    LoadSession,
    Plan,
    checked_run_id,
    fairness_session,
    plan_hash,
    run_id_of,
    soak_session,
)
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.target import Target
from soak_pipeline.model.traffic import Phase
from soak_pipeline_tests.policies import LEVELS, default_thresholds, plan_by, profile_of
from soak_pipeline_tests.tenant_tables import SIX, with_tenants

RUN_ID = "20261123T073000Z"


SMOKE = profile_of("smoke")


def _plan(profile: Profile = SMOKE, seed: int = 1) -> Plan:
    return plan_by(
        run_id=RUN_ID, profile=profile, target=Target(name="local"), thresholds=default_thresholds(), seed=seed
    )


def _phases(session: LoadSession) -> str:
    letters = {Phase.WARMUP: "w", Phase.BASELINE: "A", Phase.BURST: "B", Phase.SOAK: "s"}
    return "".join(letters[window.phase] for window in session.windows)


def test_a_plan_survives_json() -> None:
    plan = _plan()
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_the_hash_binds_every_number() -> None:
    assert plan_hash(_plan()) == plan_hash(_plan())
    assert plan_hash(_plan()) != plan_hash(_plan(seed=2))
    assert plan_hash(_plan()) != plan_hash(_plan(profile_of("pull_request")))


def test_time_zero_is_the_run_id() -> None:
    assert _plan().epoch_unix_us == int(datetime(2026, 11, 23, 7, 30, tzinfo=UTC).timestamp() * 1e6)


def test_a_run_id_is_in_utc() -> None:
    moment = datetime(2026, 11, 23, 9, 30, tzinfo=timezone(timedelta(hours=2)))
    assert run_id_of(moment) == RUN_ID


@pytest.mark.parametrize("text", ["", "2026-11-23", "../20261123T073000Z", "20261123T073000Z/..", "20261123T073000"])
def test_only_timestamps_are_run_ids(text: str) -> None:
    with pytest.raises(BadInput, match="expected a UTC timestamp"):
        checked_run_id(text)


def test_fairness_windows_alternate_as_abba() -> None:
    assert _phases(fairness_session(_plan(), 0)) == "w" + "ABBA" * 4
    assert _phases(fairness_session(_plan(), 1)) == "w" + "ABBA" * 2


def test_windows_are_back_to_back() -> None:
    session = fairness_session(_plan(), 0)
    for before, after in zip(session.windows, session.windows[1:], strict=False):
        assert after.start_s == before.end_s


def test_only_the_noisy_tenant_changes_between_baseline_and_burst() -> None:
    _, baseline, burst, *_ = fairness_session(_plan(), 0).windows
    changed = [name for name in baseline.loads if baseline.loads[name] != burst.loads[name]]
    assert changed == ["A"]
    assert burst.loads["A"].requests_per_second == 10 * baseline.loads["A"].requests_per_second


def test_a_long_burst_follows_the_first_look() -> None:
    plan = _plan(profile_of("nightly"))
    assert _phases(fairness_session(plan, 0)) == "w" + "ABBA" * 3 + "B"
    assert fairness_session(plan, 0).windows[-1].duration_s == 300.0
    assert _phases(fairness_session(plan, 1)) == "w" + "ABBA"


@pytest.mark.parametrize("name", LEVELS)
def test_the_classic_order_is_ten_minutes_of_baseline_and_ten_of_burst(name: str) -> None:
    classic = profile_of(name, fairness_order="classic")
    session = fairness_session(_plan(classic), 0)
    assert classic.fairness.pairs_by_look == (1,)
    assert _phases(session) == "wAB"
    assert [window.duration_s for window in session.windows[1:]] == [600.0, 600.0]
    assert session.windows[1].loads == fairness_session(_plan(profile_of(name)), 0).windows[1].loads


def test_the_soak_follows_its_warm_up_at_the_same_load() -> None:
    warmup, soak = soak_session(_plan(profile_of("nightly"))).windows
    assert (warmup.phase, soak.phase) == (Phase.WARMUP, Phase.SOAK)
    assert warmup.loads == soak.loads
    assert sum(load.requests_per_second for load in soak.loads.values()) == 500.0


def test_the_noisy_tenant_may_be_any() -> None:
    plan = with_tenants(_plan(), SIX, noisy="0-day")
    assert plan.noisy_tenant.name == "0-day"
    assert plan.tenant_names == tuple(SIX)
    fairness = fairness_session(plan, 0)
    burst = next(window for window in fairness.windows if window.phase is Phase.BURST)
    assert max(burst.loads, key=lambda name: burst.loads[name].requests_per_second) == "0-day"
    assert fairness.users["0-day"] == plan.profile.fairness.noisy_users_burst
