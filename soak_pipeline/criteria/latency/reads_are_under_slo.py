"""Criterion: the platform answers reads and chain verifications of every tenant in time.

Claim: per tenant and kind, p95 of the latency from the intended start is within the limit over the soak. A request
without an answer counts as one at the timeout. The upper confidence bound decides PASS, the lower one FAIL.

Asked only of tenants whose planned soak holds enough requests of the kind for a finite upper bound: 72, and more where
slow ones may come together. Of a level in which no tenant has them, nothing is asked, and neither is anything of a plan
from before there was such a limit.

Validity guard: as many samples as planned for, and a generator that was fit to measure, else a FAIL becomes
INCONCLUSIVE.

Source: coordinated omission, hence the intended start, as in `gateway_p95_is_under_slo`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from soak_pipeline.analysis.decision import Side
from soak_pipeline.analysis.percentiles import compare_to_limit, minimum_samples, percentile_estimate
from soak_pipeline.analysis.power import chance_design_effect
from soak_pipeline.criteria.criterion import Criterion, Diagnosis
from soak_pipeline.criteria.generator_health import generator_trouble, unfit_generator
from soak_pipeline.criteria.host import beside_a_busy_host
from soak_pipeline.criteria.latency.samples import LatencyGroup, latency_groups
from soak_pipeline.criteria.latency.tables import CONFIDENCE, JUDGED_SHARE, design_effect
from soak_pipeline.criteria.power.counts import CHANCE, calls_in, outlook_of
from soak_pipeline.criteria.results import conclude, not_asked, stage_missing
from soak_pipeline.criteria.sources import LATENCY_FILE, REQUESTS
from soak_pipeline.criteria.wording import count, listed, ms
from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import Plan, soak_session
from soak_pipeline.model.preview import Expectation, Outlook
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.traffic import Kind, Phase
from soak_pipeline.model.verdict import CriterionResult, Finding, Limit, Verdict, at_most

_VERDICT = {Side.BELOW: Verdict.PASS, Side.ABOVE: Verdict.FAIL, Side.OPEN: Verdict.INCONCLUSIVE}
_WORDS = {Kind.READ: "read", Kind.VERIFY: "chain verification"}
"""Kinds that are asked about, each as one of its requests is called."""


class _Question(NamedTuple):
    """One tenant and kind, with its limit and what the plan has of it.

    Attributes:
        expected: requests of the kind in the soak.
        outlook: whether they are enough.
    """

    tenant: str
    kind: Kind
    limit: Limit
    expected: float
    outlook: Outlook

    @property
    def subject(self) -> str:
        return f"tenant {self.tenant} {_WORDS[self.kind]}s"


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges reads and verifications of every tenant that has enough of them; see the module's test plan."""
    questions = [question for question in _questions(evidence.plan, evidence.thresholds_of) if _is_asked(question)]
    if not questions:
        return not_asked(
            CRITERION,
            f"no tenant has {minimum_samples(JUDGED_SHARE)} reads or chain verifications in a soak of this size, or no "
            "limit is set on them",
        )
    if evidence.soak is None:
        return stage_missing(evidence, CRITERION, "soak", [REQUESTS])
    groups = {(group.tenant, group.kind): group for group in latency_groups(evidence, (Phase.SOAK,), tuple(_WORDS))}
    trouble = generator_trouble(evidence.soak.sessions, evidence.thresholds)
    findings = [_finding(question, groups.get((question.tenant, question.kind)), trouble) for question in questions]
    slowest = max(findings, key=lambda found: found.observed or 0.0)
    return conclude(
        evidence,
        CRITERION,
        findings,
        passed=f"p95 of every tenant's reads and chain verifications is within its limit; slowest is {slowest.subject} "
        f"with {ms(slowest.observed or 0.0)}",
        files=[LATENCY_FILE, REQUESTS],
    )


def _questions(plan: Plan, thresholds_of: Callable[[str], Thresholds]) -> Iterator[_Question]:
    """Everything that could be asked, in the order of the tenants."""
    loads = soak_session(plan).windows[-1].loads
    needed = minimum_samples(JUDGED_SHARE)
    for tenant in plan.tenants:
        thresholds = thresholds_of(tenant.name)
        for kind in _WORDS:
            limit_ms = thresholds.read_latency_ms_p95_max if kind is Kind.READ else thresholds.verify_latency_ms_p95_max
            if not limit_ms:
                continue
            calls = calls_in(loads[tenant.name], kind, plan.profile.soak_s, edges=0)
            # Some requests are slow together by chance, and then all of them are worth fewer.
            careful = math.ceil(needed * chance_design_effect(plan.profile.soak_s, 1, chance=CHANCE))
            outlook = outlook_of(calls.chance_of(careful), calls.chance_of(needed))
            yield _Question(tenant.name, kind, at_most(limit_ms, "ms"), calls.expected, outlook)


def _is_asked(question: _Question) -> bool:
    return question.outlook is Outlook.DECIDABLE


def _finding(question: _Question, group: LatencyGroup | None, trouble: str) -> Finding:
    words, fewest = _WORDS[question.kind], minimum_samples(JUDGED_SHARE)
    samples = 0 if group is None else len(group.latency_ms)
    if group is None or samples < fewest:
        return Finding(
            subject=question.subject,
            about=question.kind.value,
            verdict=Verdict.INCONCLUSIVE,
            limit=question.limit,
            why=f"tenant {question.tenant}: {count(samples, words)} in the soak, p95 needs at least {fewest}",
            figures={"samples": samples},
        )
    effect = design_effect(group)
    estimate = percentile_estimate(group.latency_ms, JUDGED_SHARE, confidence=CONFIDENCE, design_effect=effect)
    verdict = _VERDICT[compare_to_limit(estimate, question.limit.value)]
    upper = "no upper bound" if estimate.upper is None else ms(estimate.upper)
    lower = "no lower bound" if estimate.lower is None else ms(estimate.lower)
    why = (
        f"tenant {question.tenant}: p95 of {count(samples, words)} was {ms(estimate.value or 0.0)} over the soak "
        f"(95 % interval {lower} to {upper}), limit {ms(question.limit.value)}"
    )
    if verdict is Verdict.FAIL and trouble:
        verdict, why = Verdict.INCONCLUSIVE, f"{why}; but {trouble}, so the figure does not accuse the platform"
    return Finding(
        subject=question.subject,
        about=question.kind.value,
        verdict=verdict,
        observed=estimate.value,
        limit=question.limit,
        interval=(estimate.lower, estimate.upper),
        why=why,
        figures={"samples": samples, "unanswered": group.unanswered, "design_effect": round(effect, 3)},
    )


def _slow_reads(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis:
    slow = listed(finding.subject for finding in findings)
    if all(finding.about == Kind.VERIFY.value for finding in findings):
        diagnosis = Diagnosis(
            "verification_slow",
            f"Only chain verifications are slow ({slow}): they walk more rows the longer the platform runs.",
            "Verify from a checkpoint instead of from the first row, and look at the plan of the query on "
            f"{dialect_of(evidence.plan.target).audit_rows.table}.",
        )
    else:
        diagnosis = Diagnosis(
            "reads_slow",
            f"Reads are slow ({slow}): a query lacks an index, or reads wait for the connections that executions use.",
            "Look for slow statements in the databases during the soak, and for waiters of the read pool.",
        )
    return beside_a_busy_host(evidence, diagnosis)


def _open_reads(evidence: RunEvidence, findings: Sequence[Finding]) -> Diagnosis | None:
    if unfit := unfit_generator(evidence, (evidence.soak,)):
        return unfit
    return Diagnosis(
        "too_few_samples",
        "There were too few requests, or p95 is too near its limit, for the interval to be on one side.",
        "Run longer or with more users.",
    )


def _outlook(plan: Plan) -> Iterator[Expectation]:
    needed = minimum_samples(JUDGED_SHARE)
    questions = list(_questions(plan, plan.thresholds_of))
    for question in filter(_is_asked, questions):
        yield Expectation(
            subject=question.subject,
            outlook=Outlook.DECIDABLE,
            why=f"about {count(question.expected, _WORDS[question.kind])} in the soak, p95 needs {needed}",
            expected=question.expected,
            needed=float(needed),
            unit="requests",
        )
    left_out = [question for question in questions if not _is_asked(question)]
    if left_out or not questions:
        fewest = min((question.expected for question in left_out), default=None)
        yield Expectation(
            subject=listed(dict.fromkeys(f"tenant {question.tenant}" for question in left_out), most=50),
            outlook=Outlook.SKIPPED,
            why="no limit is set"
            if fewest is None
            else f"{count(fewest)} or more reads and chain verifications each in the soak, p95 needs {needed}",
            expected=fewest,
            needed=float(needed),
            unit="requests",
            remedy="a longer soak, or more users for it, would do" if left_out else "",
        )


CRITERION = Criterion(
    name="reads_are_under_slo",
    short="reads",
    question="Is p95 of every tenant's reads and chain verifications within its limit, over the soak?",
    rests_on=("soak",),
    judge=judge,
    cause_of_fail=_slow_reads,
    cause_of_open=_open_reads,
    outlook=_outlook,
)
