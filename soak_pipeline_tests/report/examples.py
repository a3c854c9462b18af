"""Hand-made judgements that the tests of the report share."""

from __future__ import annotations

from soak_pipeline.model.plan import Plan
from soak_pipeline.model.target import Target
from soak_pipeline.model.verdict import CriterionResult, Finding, Judgement, Verdict, at_most, overall
from soak_pipeline.report.verdict_document import VerdictDocument, verdict_document
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of

RUN_ID = "20261123T073000Z"
HOSTILE = "<script>alert(1)</script>\x1b[2J\x00\u202e|`*[x](http://evil.example)\n</style>]]>&\"'"
"""What a platform's error text may contain: markup for every format that is written."""


def plan(profile: str = "smoke") -> Plan:
    """A plan, of the smoke profile by default."""
    return plan_by(
        run_id=RUN_ID,
        profile=profile_of(profile),
        target=Target(name="local", allow_load=True, gateway_url="http://127.0.0.1:18000"),
        thresholds=default_thresholds(),
        seed=7,
        release="v1.4.0",
        commit="0123abc",
    )


def passed(name: str = "chain_has_no_violations") -> CriterionResult:
    """A criterion that holds."""
    return CriterionResult(
        name=name,
        verdict=Verdict.PASS,
        why="5 chains of 60,120 rows have 0 violations, limit 0 rows",
        observed=0.0,
        limit=at_most(0.0, "rows"),
        findings=(Finding(subject="tenant A", verdict=Verdict.PASS, why="0 violations", observed=0.0, unit="rows"),),
        evidence=("chain_verify.json",),
    )


def failed(name: str = "quiet_tenants_are_protected") -> CriterionResult:
    """A criterion that does not hold, with findings, cause and fix."""
    why = "tenant E p99 rose 1.34x during burst (118 ms -> 158 ms, 90 % interval 1.25-1.43), limit 1.20x"
    return CriterionResult(
        name=name,
        verdict=Verdict.FAIL,
        why=why,
        observed=1.34,
        limit=at_most(1.2, "ratio"),
        interval=(1.25, 1.43),
        findings=(
            Finding(
                subject="tenant E",
                verdict=Verdict.FAIL,
                why=why,
                observed=1.34,
                limit=at_most(1.2, "ratio"),
                interval=(1.25, 1.43),
                figures={"latency_ms_p99_baseline": 118.0, "latency_ms_p99_burst": 158.0},
            ),
            Finding(
                subject="tenant B",
                verdict=Verdict.PASS,
                why="p99 rose 1.02x",
                observed=1.02,
                limit=at_most(1.2, "ratio"),
            ),
        ),
        evidence=("latency.json",),
        likely_cause="The gateway's slots are not shared fairly among tenants.",
        fix="Lower the noisy tenant's concurrency limit, or turn on fair sharing of gateway slots.",
    )


def inconclusive(name: str = "load_was_valid") -> CriterionResult:
    """A criterion that could not be measured."""
    return CriterionResult(name=name, verdict=Verdict.INCONCLUSIVE, why="worker 1 was lost after 31 s")


def not_asked(name: str = "nothing_leaks") -> CriterionResult:
    """A criterion that the profile is too short for."""
    return CriterionResult(name=name, verdict=Verdict.INCONCLUSIVE, asked=False, why="the soak lasts 45 s, limit 240 s")


def hostile() -> CriterionResult:
    """A failed criterion whose every text is hostile."""
    return CriterionResult(
        name="decisions_are_correct",
        verdict=Verdict.FAIL,
        why=HOSTILE,
        unit=HOSTILE,
        observed=3.0,
        findings=(Finding(subject=HOSTILE, verdict=Verdict.FAIL, why=HOSTILE, figures={HOSTILE: HOSTILE}),),
        evidence=(HOSTILE,),
        likely_cause=HOSTILE,
        fix=HOSTILE,
    )


def judgement(*criteria: CriterionResult) -> Judgement:
    """A judgement with these criteria."""
    return Judgement(run_id=RUN_ID, verdict=overall(criteria), criteria=criteria, judged_at="2026-11-23T07:36:00.000Z")


def document(*criteria: CriterionResult, profile: str = "smoke") -> VerdictDocument:
    """A verdict document with these criteria; the run lasted 330 s."""
    return verdict_document(plan(profile), judgement(*criteria), 330_000_000)
