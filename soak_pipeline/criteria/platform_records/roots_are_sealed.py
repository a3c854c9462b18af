"""Criterion: every tenant has, for every UTC day of the run, a signed root that covers all its audit rows.

Claim: the root exists, counts as many leaves as there are audit rows that day, reaches the last of them, has the hash
that we compute from the rows, and a signature that the published key verifies.

Validity guard: each of these was checked by us, for every day on which we recorded executed calls of the tenant, and no
event waited for the audit worker any more: no root can reach a row that is still to be written. Otherwise INCONCLUSIVE,
unless the root is wrong in another way.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from soak_pipeline.criteria.criterion import Criterion, Need
from soak_pipeline.criteria.platform_records.causes import roots, rows_late
from soak_pipeline.criteria.request_counts import LOAD_PHASES
from soak_pipeline.criteria.results import conclude, stage_missing, unmeasured
from soak_pipeline.criteria.sources import EVENTS_WAITING, events_waiting, stage_file, unavailable
from soak_pipeline.criteria.wording import count, listed
from soak_pipeline.evidence.bundle import RunEvidence
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import RootEvidence
from soak_pipeline.model.traffic import Kind, Outcome
from soak_pipeline.model.verdict import CriterionResult, Finding, Verdict, at_most

NEEDS = ("database.audit", "operator_credentials")
"""What the target must offer."""
NO_WRONG_ROOT = at_most(0.0, "roots missing or wrong")

_DAY_US = 86_400_000_000
_OBSERVED = {Verdict.PASS: 0.0, Verdict.FAIL: 1.0, Verdict.INCONCLUSIVE: None}


def judge(evidence: RunEvidence) -> CriterionResult:
    """Judges the roots of every tenant and day; see the module's test plan."""
    platform = evidence.platform_evidence
    if platform is None:
        return stage_missing(evidence, CRITERION, "platform_evidence")
    roots = {(root.tenant, root.root_date): root for root in platform.roots}
    findings = [
        _finding(evidence, name, day, roots.get((name, day)))
        for name, day in sorted({*roots, *_days_with_calls(evidence)})
    ]
    tenants_judged = {name for name, _ in [*roots, *_days_with_calls(evidence)]}
    findings += [
        unmeasured(f"tenant {tenant.name}", f"tenant {tenant.name}: no root was read, and no executed call recorded")
        for tenant in evidence.plan.tenants
        if tenant.name not in tenants_judged
    ]
    leaves = sum(root.leaf_count or 0 for root in platform.roots)
    return conclude(
        evidence,
        CRITERION,
        findings,
        main=NO_WRONG_ROOT,
        passed=f"{count(len(findings), 'root')} with {count(leaves, 'leaf', 'leaves')} checked: signed, whole and "
        "up to the last row",
        files=[stage_file(evidence, "platform_evidence")],
    )


def _days_with_calls(evidence: RunEvidence) -> list[tuple[str, str]]:
    """Tenant and UTC day of every recorded executed call."""
    requests = evidence.requests
    if not len(requests):
        return []
    calls = requests.where(kind=Kind.ALLOWED, outcome=Outcome.OK, phase=LOAD_PHASES)
    days = (evidence.plan.epoch_unix_us + requests.columns["start_us"][calls]) // _DAY_US
    tenants = requests.columns["tenant"][calls].astype(np.int64)
    pairs = np.unique(days * 1_000 + tenants)
    return [
        (
            requests.labels["tenant"][int(pair % 1_000)],
            datetime.fromtimestamp(int(pair // 1_000) * 86_400, UTC).date().isoformat(),
        )
        for pair in pairs
    ]


def _finding(evidence: RunEvidence, name: str, day: str, root: RootEvidence | None) -> Finding:
    subject = f"tenant {name} {day}"
    if root is None:
        return unmeasured(subject, f"tenant {name}: its root of {day} was not looked for")
    figures: dict[str, float | int | str | None] = {
        "present": _word(root.present),
        "leaf_count": root.leaf_count,
        "audit_rows": root.audit_rows,
        "covers_last_row": _word(root.covers_last_row),
        "signature_valid": _word(root.signature_valid),
        "root_hash_matches": _word(root.root_hash_matches),
    }
    waiting = events_waiting(evidence)
    problems = _problems(root, is_whole=not waiting)
    unchecked = _unchecked(root)
    if problems:
        verdict, why = Verdict.FAIL, f"tenant {name}: the root of {day} {listed(problems)}"
    elif unchecked:
        reason = root.reason or unavailable(evidence, *NEEDS)
        verdict = Verdict.INCONCLUSIVE
        why = f"tenant {name}: of the root of {day}, {listed(unchecked)} could not be checked"
        why += f": {reason}" if reason else ""
    elif waiting:
        verdict = Verdict.INCONCLUSIVE
        figures[EVENTS_WAITING] = waiting
        why = (
            f"tenant {name}: whether the root of {day} reaches the last row is not known, since "
            f"{count(waiting, 'event')} still waited for the audit worker"
        )
    elif not root.present:
        verdict, why = Verdict.PASS, f"tenant {name}: no rows on {day}, and so no root"
    else:
        verdict = Verdict.PASS
        why = f"tenant {name}: the root of {day} is signed and covers all {count(root.audit_rows or 0, 'row')}"
    return Finding(
        subject=subject,
        verdict=verdict,
        observed=_OBSERVED[verdict],
        limit=NO_WRONG_ROOT,
        why=why,
        figures=figures,
    )


def _problems(root: RootEvidence, *, is_whole: bool) -> list[str]:
    """What is wrong with a root; one that ends early is not wrong while rows are still to be written."""
    if not root.present:
        return [f"is missing, though there are {count(root.audit_rows, 'row')}"] if root.audit_rows else []
    problems = _gaps(root) if is_whole else []
    if root.signature_valid is False:
        problems.append("has a signature that the published key does not verify")
    if root.root_hash_matches is False:
        problems.append("has another hash than its rows give")
    return problems


def _gaps(root: RootEvidence) -> list[str]:
    """Rows that a root leaves out."""
    gaps = []
    if root.leaf_count is not None and root.audit_rows is not None and root.leaf_count != root.audit_rows:
        gaps.append(f"covers {count(root.leaf_count)} of {count(root.audit_rows, 'row')}")
    if root.covers_last_row is False:
        gaps.append("ends before the last row")
    return gaps


def _unchecked(root: RootEvidence) -> list[str]:
    if not root.present:
        return ["its rows"] if root.audit_rows is None else []
    checks = {
        "the leaf count": root.leaf_count is None or root.audit_rows is None,
        "the last row": root.covers_last_row is None,
        "the signature": root.signature_valid is None,
        "the hash": root.root_hash_matches is None,
    }
    return [what for what, missing in checks.items() if missing]


def _word(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _needs(plan: Plan) -> Iterator[Need]:
    yield Need("roots", NEEDS)


CRITERION = Criterion(
    name="roots_are_sealed",
    short="roots",
    question="Is every tenant's audit trail sealed, day by day, by a signed root that covers its last row?",
    rests_on=("platform_evidence",),
    judge=judge,
    cause_of_fail=roots,
    cause_of_open=rows_late,
    needs=_needs,
)
