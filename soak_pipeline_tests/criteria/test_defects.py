"""Each defect turns the criterion that it belongs to, and no other; a healthy run passes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from soak_pipeline.criteria.registry import CRITERIA, judge_run
from soak_pipeline.criteria.results import closeness
from soak_pipeline.evidence.bundle import read_evidence
from soak_pipeline.model.verdict import Judgement, Verdict, at_most
from soak_pipeline_tests.criteria.judging import HALF_HOUR, SMALL
from soak_pipeline_tests.evidence_defects import DEFECTS
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.policies import LEVELS, profile_of

CHAIN, USAGE, TIMELINES, ROOTS, SLO, READS, FAIRNESS, LEAKS, DECISIONS, FANOUT, TEARDOWN, LOAD = (
    criterion.name for criterion in CRITERIA
)

FAILS = {
    "chain_fork": {CHAIN},
    "row_tampered": {CHAIN},
    "row_deleted": {CHAIN},
    "audit_event_dropped": {CHAIN},
    "chain_sides_disagree": {CHAIN},
    "chain_processed_count_short": {CHAIN},
    "usage_dropped": {USAGE},
    "usage_without_audit": {USAGE},
    "billed_twice": {USAGE},
    "outbox_stalled": {USAGE},
    "usage_worker_slow": {USAGE},
    "dead_letter": {USAGE},
    "timeline_stuck": {TIMELINES},
    "timelines_backfilled": {TIMELINES},
    "root_missing": {ROOTS},
    "root_stale": {ROOTS},
    "root_signature_wrong": {ROOTS},
    "root_hash_wrong": {ROOTS},
    "slow_tenant": {SLO},
    "quiet_tenants_suffer": {FAIRNESS},
    "quiet_tenant_suffers": {FAIRNESS},
    # Refusals of a quiet tenant are wrong in themselves, and also a rise during the burst.
    "quiet_tenant_fails_fast": {FAIRNESS, DECISIONS},
    "rss_leak": {LEAKS},
    "fd_leak": {LEAKS},
    "connection_leak": {LEAKS},
    "redis_key_leak": {LEAKS},
    "queue_grows": {LEAKS},
    "retries_accumulate": {LEAKS},
    "platform_restarted": {LEAKS},
    "attack_allowed": {DECISIONS},
    "call_wrongly_denied": {DECISIONS},
    "client_error": {DECISIONS},
    "server_errors": {DECISIONS},
    "throttling_storm": {DECISIONS},
    "malformed_bodies": {DECISIONS},
    "revocation_not_honoured": {FANOUT},
    "regrant_refused": {FANOUT},
    "fanout_unanswered": {FANOUT},
    "duplicate_node": {FANOUT},
    "duplicate_edge": {FANOUT},
    "rpm_limit_ignored": {TEARDOWN},
    "tenant_not_blocked": {TEARDOWN},
    "rows_after_block": {TEARDOWN},
}
LEAVES_OPEN = {
    "chain_unread": {CHAIN},
    "usage_unread": {USAGE},
    "timelines_unread": {TIMELINES},
    "root_unread": {ROOTS},
    "noisy_never_presses": {FAIRNESS},
    "metrics_gone": {LEAKS},
    "not_probed": {TEARDOWN},
    "generator_starved": {LOAD},
    "behind_schedule": {LOAD},
    "worker_lost": {LOAD},
    "telemetry_gap": {LOAD},
    "clock_skew": {LOAD},
    "host_steal": {LOAD},
    "cut_short": {LOAD, SLO},
    "without_provision": {LOAD},
    "without_baseline": {FAIRNESS, LOAD},
    "without_burst": {FAIRNESS, LOAD},
    "without_agent_fanout": {FANOUT, LOAD},
    "without_soak": {SLO, READS, LEAKS, DECISIONS, LOAD},
    "without_teardown": {TEARDOWN},
    "without_platform_evidence": {CHAIN, USAGE, TIMELINES, ROOTS, FANOUT},
}
# The chain of the fan-out's tenant is judged by the fan-out as well.
LEAVES_OPEN["chain_unread"] |= {FANOUT}
NEEDS_LONG_SOAK = {LEAKS}
HEADLINES = {
    CHAIN: at_most(0, "violations"),
    USAGE: at_most(0, "unmatched rows"),
    TIMELINES: at_most(0, "stuck timelines"),
    ROOTS: at_most(0, "roots missing or wrong"),
    SLO: at_most(250, "ms"),
    READS: at_most(500, "ms"),
    FAIRNESS: at_most(1.2, "ratio"),
    DECISIONS: at_most(0, "wrong decisions"),
    FANOUT: at_most(0, "wrong answers"),
    TEARDOWN: at_most(0, "served calls"),
    LOAD: at_most(0, "conditions not met"),
}
"""What the headline of a criterion holds its figure against; that of leaks is the headroom of the nearest resource."""
OTHER_HEADLINES = {
    "usage_worker_slow": {"s"},
    "dead_letter": {"dead letters"},
    "timelines_backfilled": {"share"},
    # Refusals are a rise of the error share first.
    "quiet_tenant_fails_fast": {"share"},
    "server_errors": {"share"},
    "throttling_storm": {"share"},
    "malformed_bodies": {"share"},
    "duplicate_node": {"nodes and edges"},
    "duplicate_edge": {"nodes and edges"},
    "tenant_not_blocked": {"unblocked tenants"},
    "rows_after_block": {"rows"},
}
"""Units of headlines where another claim of the criterion is what a defect breaks."""


def contradictions(judgement: Judgement) -> list[str]:
    """Figures on the side of their limit that their verdict denies."""
    return [
        f"{result.name}: {figure}"
        for result in judgement.criteria
        for figure in (result, *result.findings)
        if figure.limit is not None and figure.observed is not None and result.asked
        if figure.verdict is not Verdict.INCONCLUSIVE
        if figure.limit.allows(figure.observed) is not (figure.verdict is Verdict.PASS)
    ]


def test_every_defect_has_its_row() -> None:
    assert set(DEFECTS) == set(FAILS) | set(LEAVES_OPEN)
    assert not set(FAILS) & set(LEAVES_OPEN)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_turns_its_criterion_and_no_other(tmp_path: Path, defect: str) -> None:
    expected = FAILS.get(defect) or LEAVES_OPEN[defect]
    verdict = Verdict.FAIL if defect in FAILS else Verdict.INCONCLUSIVE
    profile = HALF_HOUR if expected & NEEDS_LONG_SOAK or defect == "telemetry_gap" else SMALL

    judgement = judge_run(read_evidence(make_run(tmp_path, profile=profile, defects=[defect])))

    turned = {result.name: result.verdict for result in judgement.criteria if result.asked}
    assert {name: found for name, found in turned.items() if found is not Verdict.PASS} == dict.fromkeys(
        expected, verdict
    )
    assert judgement.verdict is verdict
    assert contradictions(judgement) == []
    for result in judgement.criteria:
        if result.name in expected:
            if verdict is Verdict.FAIL and result.name in HEADLINES:
                assert result.observed is not None
                assert result.unit in {HEADLINES[result.name].unit, *OTHER_HEADLINES.get(defect, ())}
            assert result.cause not in (None, "unknown")
            assert result.likely_cause
            assert result.fix
            assert result.findings or verdict is Verdict.INCONCLUSIVE
            assert verdict is Verdict.INCONCLUSIVE or any(letter.isdigit() for letter in result.why)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_healthy_smoke_run_passes_and_does_not_ask_about_leaks(tmp_path: Path, seed: int) -> None:
    judgement = judge_run(read_evidence(make_run(tmp_path, profile=SMALL, seed=seed)))

    assert judgement.verdict is Verdict.PASS
    assert [result.name for result in judgement.criteria if not result.asked] == [LEAKS]
    assert all(result.verdict is Verdict.PASS for result in judgement.criteria if result.asked)
    assert all(result.likely_cause is None for result in judgement.criteria if result.asked)
    assert contradictions(judgement) == []
    assert {result.name: result.limit for result in judgement.criteria if result.asked} == HEADLINES
    assert {
        result.observed for result in judgement.criteria if result.asked and result.name not in (SLO, READS, FAIRNESS)
    } == {0.0}


@pytest.mark.parametrize("profile", LEVELS)
def test_a_healthy_run_of_each_built_in_profile_is_judged_without_a_fail(tmp_path: Path, profile: str) -> None:
    quick = msgspec.structs.replace(profile_of(profile), users=60, pace_s=max(1.0, profile_of(profile).soak_s / 300.0))

    judgement = judge_run(read_evidence(make_run(tmp_path, profile=quick)))

    assert {result.name for result in judgement.criteria if result.asked and result.verdict is Verdict.FAIL} == set()
    by_name = {result.name: result.verdict for result in judgement.criteria}
    assert by_name[FAIRNESS] is Verdict.PASS
    assert by_name[LOAD] is Verdict.PASS


def test_a_healthy_longer_run_passes_with_leaks_asked(tmp_path: Path) -> None:
    judgement = judge_run(read_evidence(make_run(tmp_path, profile=HALF_HOUR)))

    assert judgement.verdict is Verdict.PASS
    assert all(result.asked for result in judgement.criteria)
    assert contradictions(judgement) == []
    leaks = next(result for result in judgement.criteria if result.name == LEAKS)
    assert leaks.findings[0].subject in leaks.why
    assert leaks.limit is not None
    assert leaks.limit.closeness(leaks.observed) == max(closeness(finding) for finding in leaks.findings)
