"""Criterion: every tenant's audit chain is whole, and holds every call that was acknowledged.

Claim: for each tenant, the platform says that its chain is valid without violations; our own verification of the rows
finds no tampered row, gap, fork, duplicate or wrong order; every call that was acknowledged to a client has its row;
and the platform checked as many rows as there are.

Validity guard: both sides were read, there are rows, and the calls that were matched are at least the executed calls
that we recorded. Otherwise INCONCLUSIVE, unless the side that was read shows a violation. So are calls without a row
while at least as many events still wait for the audit worker: they are late, and may not be lost.

Source: the platform does not mark its own homework, so a disagreement between the two sides is a violation, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.platform_records.causes import chain, rows_late
from soak_pipeline.criteria.request_counts import executed_calls
from soak_pipeline.criteria.results import conclude, stage_missing, unmeasured
from soak_pipeline.criteria.sources import CHAIN_FILE, EVENTS_WAITING, events_waiting, unavailable
from soak_pipeline.criteria.wording import count, listed
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import ChainEvidence, IndependentChain, PlatformChain
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most

NEEDS = ("database.audit", "operator_credentials")
"""What the target must offer."""
NO_VIOLATION = at_most(0.0, "violations")


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges the chain of every tenant; see the module's test plan."""
    if evidence.platform_evidence is None:
        return stage_missing(evidence, CRITERION, "platform_evidence", [CHAIN_FILE])
    findings = chain_findings(evidence)
    rows = sum(chain.independent.rows for chain in evidence.platform_evidence.chains if chain.independent)
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=NO_VIOLATION,
        passed=f"{count(rows, 'row')} of {count(len(findings), 'tenant')} verified twice: no violation, and every "
        "acknowledged call has its row",
        files=[CHAIN_FILE],
    )


def chain_findings(evidence: RunEvidence) -> list[Finding]:
    """One finding per tenant of the plan."""
    chains = {} if evidence.platform_evidence is None else {c.tenant: c for c in evidence.platform_evidence.chains}
    executed = executed_calls(evidence.requests)
    missing = sum(chain.independent.acknowledged_missing for chain in chains.values() if chain.independent)
    waiting = events_waiting(evidence)
    late = waiting if missing <= waiting else 0
    return [
        _finding(evidence, tenant.name, chains.get(tenant.name), executed, late) for tenant in evidence.plan.tenants
    ]


def _finding(
    evidence: RunEvidence, name: str, chain: ChainEvidence | None, executed: dict[str, int], late: int
) -> Finding:
    """The finding on one tenant; `late` events still wait to be written, and no more calls than that lack their row."""
    subject = f"tenant {name}"
    if chain is None:
        return unmeasured(subject, f"tenant {name}: its chain was not read")
    figures = _figures(chain, executed.get(name, 0)) | {EVENTS_WAITING: late}
    on_their_way = chain.independent.acknowledged_missing if late and chain.independent else 0
    if chain.independent is not None and on_their_way:
        present = msgspec.structs.replace(chain.independent, acknowledged_missing=0)
        chain = msgspec.structs.replace(chain, independent=present)
    problems = [*_independent_problems(chain.independent), *_platform_problems(chain.platform), *_disagreement(chain)]
    if problems:
        violations = sum(number for number, _ in problems)
        examples = f"; for example: {chain.independent.samples[0]}" if chain.independent and _samples(chain) else ""
        return Finding(
            subject=subject,
            verdict=Verdict.FAIL,
            observed=float(violations),
            limit=NO_VIOLATION,
            why=f"tenant {name}: {listed(words for _, words in problems)}, limit 0{examples}; see {CHAIN_FILE}",
            figures=figures,
        )
    doubt = (
        _late_words(on_their_way, late)
        or _doubt(chain, executed.get(name, 0))
        or (chain.reason if chain.independent is None else "")
    )
    if chain.platform is None or chain.independent is None or doubt:
        reason = doubt or chain.reason or unavailable(evidence, *NEEDS)
        return Finding(
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            limit=NO_VIOLATION,
            why=f"tenant {name}: {_missing_side(chain)}{reason or 'no reason was given'}",
            figures=figures,
        )
    return Finding(
        subject=subject,
        verdict=Verdict.PASS,
        observed=0.0,
        limit=NO_VIOLATION,
        why=f"tenant {name}: {count(chain.independent.rows, 'row')} without a violation by both verifications, all "
        f"{count(chain.independent.acknowledged, 'acknowledged call')} present",
        figures=figures,
    )


def _independent_problems(chain: IndependentChain | None) -> list[tuple[int, str]]:
    if chain is None:
        return []
    found = [
        (chain.tampered, count(chain.tampered, "tampered row")),
        (chain.gaps, count(chain.gaps, "gap")),
        (chain.forks, count(chain.forks, "fork")),
        (chain.duplicate_requests, f"{count(chain.duplicate_requests, 'request')} with more than one row"),
        (chain.out_of_order, f"{count(chain.out_of_order, 'row')} out of order"),
        (chain.acknowledged_missing, f"{count(chain.acknowledged_missing, 'acknowledged call')} without a row"),
    ]
    return [(number, words) for number, words in found if number]


def _platform_problems(chain: PlatformChain | None) -> list[tuple[int, str]]:
    if chain is None or (chain.valid and not chain.error_count and not chain.violations):
        return []
    number = max(chain.error_count, chain.violations)
    if not number:
        return [(1, "the platform calls the chain invalid")]
    return [(number, f"the platform reports {count(number, 'violation')}")]


def _disagreement(chain: ChainEvidence) -> list[tuple[int, str]]:
    if chain.platform is None or chain.independent is None:
        return []
    ours, theirs = chain.independent, chain.platform
    problems = []
    broken = ours.tampered + ours.gaps + ours.forks
    if broken and theirs.valid and not theirs.error_count:
        problems.append((1, "the platform calls this chain valid"))
    if not broken and not ours.out_of_order and not ours.duplicate_requests and not theirs.valid:
        problems.append((1, "which our own verification does not find"))
    if theirs.processed_count < ours.rows:
        problems.append((1, f"the platform checked {count(theirs.processed_count)} of {count(ours.rows, 'row')}"))
    return problems


def _doubt(chain: ChainEvidence, executed: int) -> str:
    """Why a clean answer would not mean much."""
    if chain.independent is None:
        return ""
    if chain.independent.rows == 0:
        return "the chain has no rows"
    if chain.independent.acknowledged == 0:
        return "no acknowledged call was matched with the rows"
    if chain.independent.acknowledged < executed:
        return (
            f"only {count(chain.independent.acknowledged)} of {count(executed, 'recorded executed call')} were matched "
            "with the rows"
        )
    if chain.platform is not None and chain.platform.processed_count > chain.independent.rows:
        more = chain.platform.processed_count - chain.independent.rows
        return f"the platform checked {count(more, 'row')} more than we read, so rows were still being added"
    return ""


def _late_words(on_their_way: int, late: int) -> str:
    if not on_their_way:
        return ""
    return (
        f"{count(on_their_way, 'acknowledged call')} had no row yet, while {count(late, 'event')} still waited for the "
        "audit worker"
    )


def _missing_side(chain: ChainEvidence) -> str:
    if chain.platform is None and chain.independent is None:
        return "neither verification was made: "
    if chain.platform is None:
        return "the platform's own answer is missing: "
    return "our own verification was not made: " if chain.independent is None else ""


def _samples(chain: ChainEvidence) -> bool:
    return chain.independent is not None and bool(chain.independent.samples)


def _figures(chain: ChainEvidence, executed: int) -> dict[str, float | int | str | None]:
    figures: dict[str, float | int | str | None] = {"executed_calls_recorded": executed}
    if chain.independent is not None:
        ours = chain.independent
        figures |= {
            "rows": ours.rows,
            "tampered_rows": ours.tampered,
            "gaps": ours.gaps,
            "forks": ours.forks,
            "duplicate_requests": ours.duplicate_requests,
            "out_of_order_rows": ours.out_of_order,
            "acknowledged": ours.acknowledged,
            "acknowledged_missing": ours.acknowledged_missing,
        }
    if chain.platform is not None:
        figures |= {
            "platform_valid": "yes" if chain.platform.valid else "no",
            "platform_processed_count": chain.platform.processed_count,
            "platform_error_count": chain.platform.error_count,
        }
    return figures


def _needs(plan: Plan) -> Iterator[Need]:
    yield Need("rows", NEEDS)


CRITERION = Criterion(
    name="chain_has_no_violations",
    short="chain",
    question="Is every tenant's audit chain whole, by the platform's answer and by our own verification of the rows?",
    rests_on=("platform_evidence",),
    judge=judge,
    cause_of_fail=chain,
    cause_of_open=rows_late,
    needs=_needs,
)
