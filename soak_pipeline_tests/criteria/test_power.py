"""The preview says beforehand what the judge says afterwards, for want of samples."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.criteria.power.counts import EDGE_SHARE, calls_in
from soak_pipeline.criteria.power.preview import criteria_that_need, preview
from soak_pipeline.criteria.power.words import log_lines, outlook_by_criterion, sentence, summary, table_lines
from soak_pipeline.criteria.registry import CRITERIA, judge_run
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.load.sender.schedule import JITTER_SHARE, UserSchedule
from soak_pipeline.model.plan import LoadSession, Plan, TenantLoad, Window
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.profile import Profile
from soak_pipeline.model.stage_outputs import Capability
from soak_pipeline.model.target import Target
from soak_pipeline.model.traffic import KIND_OF, Kind, Phase
from soak_pipeline.model.verdict import Judgement, Verdict
from soak_pipeline_tests.criteria.judging import HALF_HOUR, SMALL
from soak_pipeline_tests.evidence_factory import RUN_ID, make_run
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of

SLO = "gateway_p95_is_under_slo"
FAIRNESS = "quiet_tenants_are_protected"
LEAKS = "nothing_leaks"
DECISIONS = "decisions_are_correct"
TARGET = Target(name="synthetic", allow_load=True, gateway_url="http://127.0.0.1:18000")


def changed(profile: Profile = SMALL, *, fairness: dict[str, object] | None = None, **changes: object) -> Profile:
    """A profile with other numbers."""
    inner = msgspec.structs.replace(profile.fairness, **(fairness or {}))
    return msgspec.structs.replace(profile, **{"fairness": inner, **changes})


def plan_of(profile: Profile, target: Target = TARGET, **limits: float) -> Plan:
    return plan_by(run_id=RUN_ID, profile=profile, target=target, thresholds=default_thresholds(**limits))


def expected(profile: Profile, criterion: str, subject: str, **limits: float) -> Expectation:
    found = preview(plan_of(profile, **limits))
    return next(item for item in found if (item.criterion, item.subject) == (criterion, subject))


# ---------------------------------------------------------------- by hand

ONE_USER = changed(users=20, pace_s=0.5, soak_s=34.0)
"""Tenant E has 5 % of 20 users, so one, with two requests per second, of which 60 % are executed calls."""


def test_a_tenant_with_too_few_calls_is_told_how_much_longer_would_do() -> None:
    """34 s are 68 requests and 40.8 executed calls. 72 of them come together with 19 chances in 20 from the number of
    requests on that the binomial distribution gives, and no window is long enough for a design effect."""
    found = expected(ONE_USER, SLO, "tenant E")

    def chance(requests: int) -> float:
        return 1.0 - sum(
            math.comb(requests, hits) * 0.6**hits * 0.4 ** (requests - hits) for hits in range(min(72, requests + 1))
        )

    fewest = next(requests for requests in range(72, 300) if chance(requests) >= 0.95)
    assert 130 < fewest <= 138
    # The next whole five seconds: 69 s are 138 requests. Two users, which 29 in all give tenant E, make 136.
    assert found.outlook is Outlook.UNDECIDABLE
    assert (found.expected, found.needed) == (pytest.approx(40.8), 72.0)
    assert found.figures == {"extra_run_time_s": 35.0, "users": 29}
    assert sentence(found) == (
        "tenant E: about 41 executed calls in the soak, p95 needs 72: will be INCONCLUSIVE; 35 s more or 29 users in "
        "all would do"
    )


def test_what_the_remedy_says_is_decidable() -> None:
    assert expected(changed(ONE_USER, soak_s=69.0), SLO, "tenant E").outlook is Outlook.DECIDABLE
    assert expected(changed(ONE_USER, soak_s=64.0), SLO, "tenant E").outlook is not Outlook.DECIDABLE
    assert expected(changed(ONE_USER, users=29), SLO, "tenant E").outlook is Outlook.DECIDABLE
    assert expected(changed(ONE_USER, users=28), SLO, "tenant E").outlook is not Outlook.DECIDABLE


def test_a_longer_soak_has_windows_that_need_their_samples_too() -> None:
    """One call in four seconds is 450 in half an hour and 75 in each five minutes: enough in all, too few in each."""
    found = expected(changed(users=20, pace_s=2.4, soak_s=1_800.0), SLO, "tenant E")
    assert found.outlook is Outlook.UNCERTAIN
    assert found.why.startswith("about 450 executed calls in the soak, 74 in the shortest of its 6 five-minute windows")
    assert list(found.figures) == ["users"]


def test_a_fairness_window_with_too_few_calls_is_told_what_would_do() -> None:
    """Ten users with two calls per second have 70 calls in the 3.5 s of a window that count, one of which may fall over
    its edge. Windows of 5.55 s have 101, users 15 have 103 of 105."""
    found = expected(changed(fairness={"quiet_users": 10}), FAIRNESS, "tenant C")
    assert found.outlook is Outlook.UNDECIDABLE
    assert found.expected == 69.0
    assert found.figures == {"window_s": 6.0, "quiet_users": 15}
    for fairness in ({"quiet_users": 10, "window_s": 6.0}, {"quiet_users": 15}):
        assert "100 in each; a tenant" in expected(changed(fairness=fairness), FAIRNESS, "tenant C").why


def test_few_pairs_are_uncertain_and_told_how_many_would_do() -> None:
    found = expected(changed(fairness={"quiet_users": 16, "pairs_by_look": (3,)}), FAIRNESS, "tenant E")
    assert found.outlook is Outlook.UNCERTAIN
    assert found.figures["pass_share_no_effect"] < 0.9
    pairs = int(found.figures["pairs"])
    enough = expected(changed(fairness={"quiet_users": 16, "pairs_by_look": (pairs,)}), FAIRNESS, "tenant E")
    assert enough.outlook is Outlook.DECIDABLE
    assert enough.figures["pass_share_no_effect"] >= 0.9


def test_no_error_in_too_few_requests_does_not_show_the_share() -> None:
    """With no error in n requests before and in the burst, the rise is at most 3.84 / (n + 3.84): 766 show half a per
    cent. Eight windows of 4 s at 60 requests per second have 1,920, four at 10 per second 160."""
    assert expected(SMALL, FAIRNESS, "tenant B errors").outlook is Outlook.DECIDABLE
    small = changed(fairness={"quiet_users": 5, "pairs_by_look": (4,)})
    found = expected(small, FAIRNESS, "tenant B errors")
    assert (found.outlook, found.expected) == (Outlook.UNDECIDABLE, 160.0)
    # Twenty pairs have 800; the search goes up by 2 % and so may ask for one more.
    assert found.figures["pairs"] in (20, 21)
    later = changed(fairness={"quiet_users": 5, "pairs_by_look": (4, 24)})
    assert expected(later, FAIRNESS, "tenant B errors").outlook is Outlook.UNCERTAIN


def test_a_burst_that_is_none_decides_nothing() -> None:
    found = expected(changed(fairness={"noisy_users_burst": 5}), FAIRNESS, "pressure")
    assert found.outlook is Outlook.UNDECIDABLE
    assert found.remedy == "more than 5 noisy users in the burst would do"


def test_two_pairs_have_no_interval() -> None:
    found = expected(changed(fairness={"pairs_by_look": (2,)}), FAIRNESS, "pairs")
    assert (found.outlook, found.needed) == (Outlook.UNDECIDABLE, 3.0)


def test_the_classic_order_needs_eight_sub_windows() -> None:
    """60 calls per second fill sub-windows of 10 s; 82 s have eight of them after 0.5 s of settling, 70 s have six."""
    classic = {"order": "classic", "pairs_by_look": (1,)}
    long = expected(changed(fairness={**classic, "window_s": 600.0}), FAIRNESS, "tenant B")
    assert long.outlook is Outlook.DECIDABLE
    short = expected(changed(fairness={**classic, "window_s": 70.0}), FAIRNESS, "tenant B")
    assert short.outlook is Outlook.UNDECIDABLE
    assert short.figures == {"window_s": 81.0}


def test_leaks_are_skipped_until_the_soak_is_long_enough() -> None:
    found = expected(SMALL, LEAKS, "run")
    assert (found.outlook, found.figures) == (Outlook.SKIPPED, {"extra_run_time_s": 1_755.0})
    assert sentence(found).endswith("will be skipped; 29 min 15 s more would do")
    assert expected(HALF_HOUR, LEAKS, "run").outlook is Outlook.DECIDABLE
    rare = changed(HALF_HOUR, telemetry_interval_s=120.0)
    # A point in two minutes: 15 and one.
    assert (expected(rare, LEAKS, "run").outlook, expected(rare, LEAKS, "run").expected) == (Outlook.UNDECIDABLE, 16.0)


def test_a_rare_kind_is_told_how_much_longer_would_do() -> None:
    mix = {Kind.ALLOWED: 0.99, Kind.DENIED: 0.01}
    found = expected(changed(mix=mix, users=20), DECISIONS, "denied requests")
    # 50 s of 20 requests per second, one in a hundred, besides the noisy tenant's own mix in the fairness windows.
    assert found.outlook is Outlook.DECIDABLE
    quiet = changed(mix=mix, users=20, fairness={"noisy_mix": {Kind.ALLOWED: 1.0}})
    found = expected(quiet, DECISIONS, "denied requests")
    assert (found.outlook, found.expected) == (Outlook.UNDECIDABLE, pytest.approx(10.0))
    longer = changed(quiet, soak_s=45.0 + found.figures["extra_run_time_s"])
    assert expected(longer, DECISIONS, "denied requests").outlook is Outlook.DECIDABLE


def test_a_lone_agent_cannot_overlap() -> None:
    found = expected(
        changed(fanout=msgspec.structs.replace(SMALL.fanout, agents=1, revoked_agents=0)),
        "fanout_is_correct",
        "concurrency",
    )
    assert (found.outlook, found.needed) == (Outlook.UNDECIDABLE, 2.0)


# ---------------------------------------------------------------- what the target offers


def lacking(*names: str) -> tuple[Capability, ...]:
    return tuple(Capability(name=name, available=False, reason="no DSN") for name in names)


def test_what_a_target_cannot_offer_is_named_with_its_criteria() -> None:
    plan = plan_of(SMALL)
    assert criteria_that_need(plan, "database.audit") == [
        "chain_has_no_violations",
        "usage_matches_audit",
        "roots_are_sealed",
        "fanout_is_correct",
        "teardown_is_silent",
    ]
    assert criteria_that_need(plan, "redis") == ["usage_matches_audit"]
    assert criteria_that_need(plan_of(HALF_HOUR), "redis") == ["usage_matches_audit", "nothing_leaks"]
    assert criteria_that_need(plan, "database.identity") == []
    found = [item for item in preview(plan, lacking("redis")) if item.outlook is Outlook.UNDECIDABLE]
    assert [(item.criterion, item.subject) for item in found] == [("usage_matches_audit", "pipelines")]
    assert found[0].why == "redis is not available: no DSN"


def test_a_prometheus_is_needed_only_where_the_target_names_one() -> None:
    assert criteria_that_need(plan_of(SMALL), "prometheus") == []
    named = msgspec.structs.replace(TARGET, prometheus_url="http://127.0.0.1:9090")
    assert criteria_that_need(plan_of(SMALL, named), "prometheus") == [SLO]


def test_every_capability_that_is_needed_is_one_that_preflight_looks_for() -> None:
    from soak_pipeline_tests.evidence_factory import CAPABILITIES

    named = msgspec.structs.replace(TARGET, prometheus_url="http://127.0.0.1:9090")
    asked = {
        name
        for criterion in CRITERIA
        for need in criterion.needs(plan_of(HALF_HOUR, named))
        for name in need.capabilities
    }
    assert asked <= {*CAPABILITIES, "prometheus"}


# ---------------------------------------------------------------- in words


def test_every_criterion_has_an_outlook_in_the_order_of_the_criteria() -> None:
    for name in ("smoke", "pull_request", "nightly", "pre_release"):
        outlooks = outlook_by_criterion(preview(plan_of(profile_of(name))))
        assert list(outlooks) == [criterion.name for criterion in CRITERIA]
        assert set(outlooks.values()) <= {Outlook.DECIDABLE, Outlook.SKIPPED}, name
        assert (outlooks[LEAKS] is Outlook.SKIPPED) is (name in ("smoke", "pull_request"))


def test_the_log_has_a_summary_and_what_is_not_decidable() -> None:
    lines = list(log_lines(preview(plan_of(ONE_USER))))
    assert lines[0] == (
        f"this size can decide 8 of {len(CRITERIA)} criteria; not: {SLO} and load_was_valid; skipped: "
        f"reads_are_under_slo and {LEAKS}"
    )
    assert [line.split(",")[0] for line in lines[1:]] == [SLO, "reads_are_under_slo", LEAKS, "load_was_valid"]


def test_subjects_of_which_the_same_is_true_share_a_line() -> None:
    lines = list(table_lines(preview(plan_of(changed(fairness={"quiet_users": 10})))))
    assert any(line.startswith("  no       tenants B, C, D and E: about 69 executed calls") for line in lines)
    assert any(line.startswith("  maybe    tenants B, C, D and E errors: about 640 requests before") for line in lines)


def test_a_criterion_is_as_bad_as_its_worst_subject() -> None:
    one = preview(plan_of(ONE_USER))
    assert outlook_by_criterion(one)[SLO] is Outlook.UNDECIDABLE
    assert summary(one[:0]) == "this size can decide 0 of 0 criteria"


# ---------------------------------------------------------------- against the schedule, and against the judge


def test_the_edge_is_half_the_jitter_of_the_schedule() -> None:
    assert EDGE_SHARE == JITTER_SHARE / 2


@given(
    users=st.integers(1, 40),
    pace_s=st.floats(0.2, 3.0),
    window_s=st.floats(2.0, 20.0),
    settle_share=st.floats(0.0, 0.5),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=40, deadline=None)
def test_the_schedule_sends_at_least_the_calls_that_are_counted_on(
    users: int, pace_s: float, window_s: float, settle_share: float, seed: int
) -> None:
    load = TenantLoad(active_users=users, pace_s=pace_s, mix={Kind.ALLOWED: 1.0})
    settle_s = window_s * settle_share
    window = Window(
        index=0, phase=Phase.BASELINE, start_s=0.0, duration_s=window_s, settle_s=settle_s, loads={"B": load}
    )
    session = LoadSession(name="fairness-1", users={"B": users}, spawn_per_second=10.0, windows=(window,))
    entries = [
        entry
        for index in range(users)
        for entry in UserSchedule(seed=seed, session=session, tenant="B", index=index, agents=3)
    ]
    assert all(KIND_OF[entry.operation] is Kind.ALLOWED for entry in entries)
    assert len(entries) == calls_in(load, Kind.ALLOWED, window_s, edges=0).requests
    settled = sum(entry.settled for entry in entries)
    # One more at each edge, because places are whole microseconds and users whole.
    assert settled >= calls_in(load, Kind.ALLOWED, window_s - settle_s, edges=1).requests - 1


def judgement_of(profile: Profile) -> tuple[tuple[Expectation, ...], Judgement]:
    """The preview of a plan, and the judgement of a healthy run that has exactly the planned requests."""
    with tempfile.TemporaryDirectory() as folder:
        evidence = read_evidence(make_run(Path(folder), profile=profile))
        return preview(evidence.plan), judge_run(evidence)


def contradictions(expectations: Sequence[Expectation], judgement: Judgement) -> list[str]:
    """Subjects of which the preview says that enough, or not enough, will be measured, and the judge the opposite."""
    found = {
        (criterion.name, finding.subject): finding for criterion in judgement.criteria for finding in criterion.findings
    }
    names = {"pressure": "tenant A pressure"}
    wrong = []
    for item in expectations:
        subject = names.get(item.subject, item.subject)
        if item.criterion == DECISIONS and subject.endswith(" requests"):
            continue
        finding = found.get((item.criterion, subject))
        if finding is None:
            continue
        if item.outlook is Outlook.DECIDABLE and finding.verdict is not Verdict.PASS:
            wrong.append(f"{sentence(item)} <> {finding.why}")
        if item.outlook is Outlook.UNDECIDABLE and finding.verdict is not Verdict.INCONCLUSIVE:
            wrong.append(f"{sentence(item)} <> {finding.why}")
    return wrong


@given(
    users=st.integers(20, 60),
    pace_s=st.sampled_from([1.0, 2.0, 4.0]),
    soak_s=st.sampled_from([20.0, 45.0, 120.0, 400.0, 700.0]),
    quiet_users=st.integers(5, 40),
    window_s=st.sampled_from([2.0, 4.0, 8.0]),
    pairs=st.sampled_from([(3,), (6,), (8, 12)]),
    long_burst_s=st.sampled_from([0.0, 6.0, 30.0]),
)
@settings(max_examples=10, deadline=None)
def test_the_preview_agrees_with_the_judge(
    users: int,
    pace_s: float,
    soak_s: float,
    quiet_users: int,
    window_s: float,
    pairs: tuple[int, ...],
    long_burst_s: float,
) -> None:
    profile = changed(
        users=users,
        pace_s=pace_s,
        soak_s=soak_s,
        fairness={
            "quiet_users": quiet_users,
            "window_s": window_s,
            "pairs_by_look": pairs,
            "long_burst_s": long_burst_s,
        },
    )
    assert contradictions(*judgement_of(profile)) == []


@pytest.mark.parametrize("window_s", [70.0, 100.0, 240.0])
def test_the_preview_agrees_with_the_judge_in_classic_order(window_s: float) -> None:
    profile = changed(fairness={"order": "classic", "pairs_by_look": (1,), "window_s": window_s})
    assert contradictions(*judgement_of(profile)) == []


def test_a_skipped_criterion_is_not_asked_by_the_judge_either() -> None:
    expectations, judgement = judgement_of(SMALL)
    skipped = {name for name, outlook in outlook_by_criterion(expectations).items() if outlook is Outlook.SKIPPED}
    assert skipped == {criterion.name for criterion in judgement.criteria if not criterion.asked} == {LEAKS}
