"""Criterion: every call got the decision that it had to get, and answers were whole.

Claim: per tenant, over all phases of the load, no attack and no unauthenticated call was executed, no legitimate call
was refused, and no call met an unexpected 4xx. Timeouts, transport errors, 5xx, malformed bodies and unplanned
throttling together stay within the allowed share of the tenant's requests. Throttling of the noisy tenant in its own
burst is its due; any other is unplanned, since every limit was set far above the plan.

The counts are of all requests, not of a sample, so they are held against the limits as they are. The error share of the
soak alone is judged as well, so that other phases do not dilute it; it fails when its lower confidence bound is beyond
the limit, since a small tenant's one error in a short soak is no share.

Validity guard: every operation of the mix was sent, and every kind often enough over the run; each tenant sent allowed
and denied calls. With none wrong in n, the true share may still be 3/n (95 %), which the figures give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.analysis.proportions import clopper_pearson_interval
from soak_pipeline.criteria.criterion import Criterion
from soak_pipeline.criteria.decisions.causes import wrong_decisions
from soak_pipeline.criteria.decisions.outlook import FEWEST_OF_A_KIND, outlook
from soak_pipeline.criteria.request_counts import LOAD_PHASES, count_by, count_by_two
from soak_pipeline.criteria.results import conclude, stage_missing
from soak_pipeline.criteria.sources import REQUESTS
from soak_pipeline.criteria.wording import count, listed, share
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.traffic import KIND_OF, Kind, Outcome, Phase
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_least, at_most

NO_WRONG_DECISION = at_most(0.0, "wrong decisions")

_MUST_BE_NONE = {
    Outcome.WRONGLY_ALLOWED: "was executed though it must be denied",
    Outcome.WRONGLY_DENIED: "was refused though it is legitimate",
    Outcome.CLIENT_ERROR: "met an unexpected 4xx",
}
Figures = dict[str, float | int | str | None]
_ERRORS = (Outcome.TIMEOUT, Outcome.TRANSPORT_ERROR, Outcome.SERVER_ERROR, Outcome.MALFORMED, Outcome.THROTTLED)


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges the outcomes of every tenant, and whether every operation was exercised; see the module's test plan."""
    if evidence.soak is None:
        return stage_missing(evidence, CRITERION, "soak", [REQUESTS])
    requests = evidence.requests
    load = requests.take(requests.where(phase=LOAD_PHASES)) if len(requests) else requests
    findings = [_tenant_finding(evidence, load, tenant.name) for tenant in evidence.plan.tenants]
    findings.append(_coverage_finding(evidence, load))
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=NO_WRONG_DECISION,
        gravity=_gravity,
        passed=f"{count(len(load), 'request')} of {count(len(evidence.plan.tenants), 'tenant')}: none wrongly allowed, "
        f"none wrongly denied, errors within the limit{_highest_words(evidence, findings)}",
        files=[REQUESTS],
    )


def _tenant_finding(evidence: RunEvidence, load: RequestTable, name: str) -> Finding:
    rows = load.take(load.where(tenant=name)) if len(load) else load
    outcomes = count_by(rows, "outcome") if len(rows) else {}
    kinds = count_by(rows, "kind") if len(rows) else {}
    figures = _figures(rows, outcomes, kinds)
    for outcome, words in _MUST_BE_NONE.items():
        if number := outcomes.get(outcome.value, 0):
            return Finding(
                subject=f"tenant {name}",
                verdict=Verdict.FAIL,
                observed=float(number),
                limit=NO_WRONG_DECISION,
                why=f"tenant {name}: {count(number, 'request')} {_plural(words, number)}, limit 0 "
                f"({_operations(rows, outcome)})",
                figures=figures,
            )
    wanted = [kind for kind in (Kind.ALLOWED, Kind.DENIED) if evidence.plan.profile.mix.get(kind, 0.0) > 0]
    absent = [kind for kind in wanted if not kinds.get(kind)]
    return _error_finding(evidence, rows, name, absent, figures)


def _error_finding(
    evidence: RunEvidence, rows: RequestTable, name: str, absent: list[Kind], figures: Figures
) -> Finding:
    """The share of errors over the whole load, and over the soak alone where it is beyond doubt."""
    limit = evidence.thresholds_of(name).error_share_max
    soak = rows.take(rows.where(phase=Phase.SOAK)) if len(rows) else rows
    is_noisy = evidence.plan.tenant(name).is_noisy
    parts = [("", rows, _errors(rows, is_noisy)), (" of the soak", soak, _errors(soak, is_noisy))]
    (_, _, overall), (_, _, in_soak) = parts
    observed = sum(overall.values()) / len(rows) if len(rows) else None
    figures["error_share"] = observed
    verdict, (where, judged, errors) = Verdict.PASS, parts[0]
    if observed is not None and observed > limit:
        verdict = Verdict.FAIL
    elif len(soak) and clopper_pearson_interval(sum(in_soak.values()), len(soak)).lower > limit:
        verdict, (where, judged, errors) = Verdict.FAIL, parts[1]
        observed = sum(in_soak.values()) / len(soak)
    elif absent or observed is None:
        verdict = Verdict.INCONCLUSIVE
    details = listed(f"{count(number)} {outcome.replace('_', ' ')}" for outcome, number in errors.items())
    wrong = f"{share(observed or 0.0)} of {count(len(judged), 'request')}{where} went wrong"
    why = f"tenant {name}: {wrong}{f' ({details})' if errors else ''}, limit {share(limit)}"
    if verdict is Verdict.INCONCLUSIVE:
        why = f"tenant {name} sent no {listed(absent)} call" if absent else f"tenant {name} sent nothing"
    too_many = verdict is Verdict.FAIL
    return Finding(
        subject=f"tenant {name}",
        verdict=verdict,
        observed=observed if too_many else None if verdict is Verdict.INCONCLUSIVE else 0.0,
        limit=at_most(limit, "share") if too_many else NO_WRONG_DECISION,
        why=why,
        figures=figures,
    )


def _highest_words(evidence: RunEvidence, findings: Sequence[Finding]) -> str:
    """The tenant with the highest share of errors, in brackets; nothing where there was no error."""
    shares = {finding.subject: float(finding.figures.get("error_share") or 0.0) for finding in findings}
    subject = max(shares, key=lambda name: shares[name])
    if not shares[subject]:
        return ""
    return f" (highest: {subject} with {share(shares[subject])}, limit {share(evidence.thresholds.error_share_max)})"


def _errors(rows: RequestTable, is_noisy: bool) -> dict[str, int]:
    """Errors by outcome; throttling of the noisy tenant in its own burst is none."""
    if not len(rows):
        return {}
    mask = rows.where(outcome=_ERRORS)
    if is_noisy:
        mask &= ~rows.where(outcome=Outcome.THROTTLED, phase=Phase.BURST)
    return count_by(rows, "outcome", mask)


def _gravity(finding: Finding) -> float:
    """Which of two failures is named first: an attack that was executed before anything else."""
    wrong = [finding.figures.get(outcome.value) for outcome in _MUST_BE_NONE]
    weights = (1e12, 1e6, 1.0)
    return sum(weight * number for weight, number in zip(weights, wrong, strict=True) if isinstance(number, int))


def _operations(rows: RequestTable, outcome: Outcome) -> str:
    by_operation = count_by(rows, "operation", rows.where(outcome=outcome))
    ordered = sorted(by_operation.items(), key=lambda item: -item[1])
    return listed(f"{count(number)} x {operation}" for operation, number in ordered)


def _figures(rows: RequestTable, outcomes: Mapping[str, int], kinds: Mapping[str, int]) -> Figures:
    figures: Figures = {"requests": len(rows)}
    figures |= {outcome.value: outcomes.get(outcome.value, 0) for outcome in Outcome}
    denied = kinds.get(Kind.DENIED.value, 0)
    figures["denied_calls"] = denied
    figures["wrongly_allowed_share_upper_95"] = min(1.0, 3.0 / denied) if denied else None
    return figures


def _coverage_finding(evidence: RunEvidence, load: RequestTable) -> Finding:
    """Whether the run exercised what it claims to have judged."""
    planned = [kind for kind, part in evidence.plan.profile.mix.items() if part > 0]
    kinds = count_by(load, "kind") if len(load) else {}
    operations = count_by(load, "operation") if len(load) else {}
    rare = [f"{count(kinds.get(kind, 0))} {kind}" for kind in planned if kinds.get(kind, 0) < FEWEST_OF_A_KIND]
    never = [op for op, kind in KIND_OF.items() if kind in planned and not operations.get(op)]
    fewest = min((kinds.get(kind, 0) for kind in planned), default=0)
    why = f"every operation was sent, and at least {count(fewest)} of each kind"
    if never:
        why = f"{listed(never)} {'was' if len(never) == 1 else 'were'} never sent, so decisions about it are unknown"
    elif rare:
        why = f"too few to judge: {listed(rare)} requests, at least {FEWEST_OF_A_KIND} of each kind are needed"
    return Finding(
        subject="operations",
        verdict=Verdict.INCONCLUSIVE if never or rare else Verdict.PASS,
        observed=float(fewest),
        limit=at_least(FEWEST_OF_A_KIND, "requests"),
        why=why,
        figures=_matrix(load),
    )


def _matrix(load: RequestTable) -> Figures:
    """Requests per operation, all and wrong ones."""
    if not len(load):
        return {}
    counts: NDArray[np.int64] = count_by_two(load, "operation", "outcome")
    right = load.labels["outcome"].index(Outcome.OK) if Outcome.OK in load.labels["outcome"] else None
    figures: Figures = {}
    for operation, row in zip(load.labels["operation"], counts, strict=True):
        if total := int(row.sum()):
            figures[operation] = total
            figures[f"{operation}_wrong"] = total - (int(row[right]) if right is not None else 0)
    return figures


def _plural(words: str, number: int) -> str:
    return (
        words
        if number == 1
        else words.replace("was ", "were ").replace("it is", "they are").replace("it must", "they must")
    )


CRITERION = Criterion(
    name="decisions_are_correct",
    short="decisions",
    question="Did every attack meet a denial, every legitimate call an execution, and every request a whole answer?",
    rests_on=("soak",),
    judge=judge,
    cause_of_fail=wrong_decisions,
    outlook=outlook,
)
