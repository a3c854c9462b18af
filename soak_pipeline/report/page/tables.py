"""The tables of the page that are not a criterion's: outcomes by kind, and the platform's records per tenant.

Owns their rows. Never judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soak_pipeline.evidence.requests import RequestTable
from soak_pipeline.model.documents import TenantChain, TenantReconciliation
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.traffic import Kind, Outcome
from soak_pipeline.report.documents import Documents
from soak_pipeline.report.errors_log import ErrorKind
from soak_pipeline.report.quantities import NOT_MEASURED
from soak_pipeline.report.verdict_document import moment

_KIND_WORDS = {
    Kind.ALLOWED: "allowed: executed calls",
    Kind.DENIED: "denied: attacks, to be refused",
    Kind.READ: "read: audit, usage, timelines",
    Kind.VERIFY: "verify: chain verification",
    Kind.MISC: "misc: bad tokens, oversize, health",
    Kind.AUTH: "auth: log-ins and refreshes",
}


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One kind of request: how many, their share of all, the share with the right answer, and the rest in words."""

    kind: str
    requests: int
    share: float
    right: float
    errors: str


def outcome_rows(requests: RequestTable | None) -> list[OutcomeRow]:
    """One row per kind that was sent, in the order of the mix."""
    if requests is None:
        return []
    kinds, outcomes = requests.labels["kind"], requests.labels["outcome"]
    pairs = requests.columns["kind"].astype(np.int64) * len(outcomes) + requests.columns["outcome"]
    counts = np.bincount(pairs, minlength=len(kinds) * len(outcomes)).reshape(len(kinds), len(outcomes))
    by_kind = {kind: dict(zip(outcomes, map(int, row), strict=True)) for kind, row in zip(kinds, counts, strict=True)}
    rows = []
    for kind in Kind:
        found = by_kind.get(kind.value, {})
        total = sum(found.values())
        if not total:
            continue
        wrong = {name: count for name, count in found.items() if count and name != Outcome.OK}
        rows.append(
            OutcomeRow(
                kind=_KIND_WORDS[kind],
                requests=total,
                share=total / len(requests),
                right=found.get(Outcome.OK.value, 0) / total,
                errors=", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(wrong.items())),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One kind of error: its place, how often, the moments of the first and the last (UTC), and one sample."""

    kind: ErrorKind
    first: str
    last: str


def error_rows(plan: Plan, kinds: Sequence[ErrorKind]) -> list[ErrorRow]:
    """One row per kind, in the order given."""
    return [ErrorRow(kind, moment(plan, kind.first_us), moment(plan, kind.last_us)) for kind in kinds]


@dataclass(frozen=True, slots=True)
class RecordsRow:
    """One tenant's chain and usage: a verdict word each, and the cells beside it."""

    tenant: str
    chain: str
    chain_cells: Sequence[str]
    usage: str
    usage_cells: Sequence[str]


def records_rows(documents: Documents) -> list[RecordsRow]:
    """One row per tenant of `chain_verify.json` and `reconcile.json`, in their order."""
    chains = {} if documents.chain_verify is None else {each.tenant: each for each in documents.chain_verify.tenants}
    usages = {} if documents.reconcile is None else {each.tenant: each for each in documents.reconcile.tenants}
    return [_records_row(name, chains.get(name), usages.get(name)) for name in {**chains, **usages}]


def _records_row(tenant: str, chain: TenantChain | None, usage: TenantReconciliation | None) -> RecordsRow:
    platform = None if chain is None else chain.platform
    ours = None if chain is None else chain.independent
    broken = None if ours is None else ours.tampered + ours.gaps + ours.forks + ours.duplicate_requests
    gaps = None
    if usage is not None and usage.audit_without_usage is not None and usage.usage_without_audit is not None:
        gaps = usage.audit_without_usage + usage.usage_without_audit
    return RecordsRow(
        tenant=tenant,
        chain="INCONCLUSIVE" if chain is None else chain.verdict.value,
        chain_cells=(
            _count(None if platform is None else platform.processed_count),
            _count(None if ours is None else ours.rows),
            _count(None if platform is None else platform.violations),
            _count(broken),
            _count(None if ours is None else ours.acknowledged_missing),
        ),
        usage="INCONCLUSIVE" if usage is None else usage.verdict.value,
        usage_cells=(
            _count(None if usage is None else usage.billable_audit_rows),
            _count(None if usage is None else usage.usage_rows),
            _count(gaps),
        ),
    )


def _count(value: int | None) -> str:
    return NOT_MEASURED if value is None else f"{value:,}"
