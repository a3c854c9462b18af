"""Reads one tenant's audit rows and usage records once, as streams, and says what they show.

One pass over the audit rows feeds the chain verifier, the day trees and the key spool; memory does not grow with the
rows. Owns the comparison of audit, usage and acknowledged calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from soak_pipeline.dialect.audit_store import AuditRows
from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.dialect.hashing import RootScheme
from soak_pipeline.dialect.stores import Usage
from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.stage_outputs import ChainEvidence, IndependentChain, ReconcileEvidence, RootEvidence
from soak_pipeline.target.arrow_columns import bytes_of
from soak_pipeline.target.audit_rows import RowBatch, read_batches, text_of
from soak_pipeline.target.chain_verifier import ChainVerifier, forks_among
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import STREAM_TIMEOUT_S, Unreadable, reading
from soak_pipeline.target.key_spool import KEY_BYTES, KeySpool, key_of, keys_of, uuid_of
from soak_pipeline.target.merkle import DayTrees
from soak_pipeline.target.roots import PublishedRoot, judge_signature, published_roots, root_evidence
from soak_pipeline.target.row_streams import record_batches

DATABASES = ("audit", "usage")
"""Those that `read_tenant` reads."""

Connection = psycopg.Connection[tuple[Any, ...]]
_SAMPLES = 10
_KEYS_BATCH_BYTES = 2**18
_BILLABLE, _NOT_BILLABLE, _USAGE, _ACKNOWLEDGED = "billable", "not_billable", "usage", "acknowledged"


@dataclass(frozen=True, kw_only=True)
class TenantAudit:
    """What one tenant's rows show.

    Attributes:
        chain: our own verification; the platform's answer is not in it.
        reconciliation: audit against usage.
        roots: one per UTC day that has rows or a root.
    """

    chain: ChainEvidence
    reconciliation: ReconcileEvidence
    roots: tuple[RootEvidence, ...]


@dataclass(kw_only=True)
class _KeySets:
    """Counts of the comparison of audit, usage and acknowledged keys."""

    duplicate_requests: int = 0
    acknowledged: int = 0
    acknowledged_missing: int = 0
    billable: int = 0
    usage: int = 0
    audit_without_usage: int = 0
    usage_without_audit: int = 0
    billed_twice: int = 0
    samples: list[str] = field(default_factory=list)


def read_tenant(
    dsns: Mapping[str, str],
    dialect: Dialect,
    tenant: TenantPlan,
    acknowledged: Iterable[bytes],
    *,
    public_key_pem: str | None = None,
    directory: Path | None = None,
) -> TenantAudit:
    """Reads and compares everything that a tenant's audit rows are evidence of.

    Args:
        dsns: by database, as in `ResolvedTarget`; it reads `DATABASES`.
        dialect: the platform's words.
        tenant: which.
        acknowledged: request ids of answered calls that must have left a row, as the 16 bytes of their UUIDs; one or
            several after another in each item.
        public_key_pem: with which roots are signed; None leaves signatures unchecked.
        directory: for temporary files, 16 bytes per row and collection.

    Returns:
        Evidence; what cannot be read is None, with the reason.
    """
    with KeySpool(_BILLABLE, _NOT_BILLABLE, _USAGE, _ACKNOWLEDGED, directory=directory) as spool:
        for keys in acknowledged:
            spool.add(_ACKNOWLEDGED, keys)
        try:
            with reading(dsns, "audit", statement_timeout_s=STREAM_TIMEOUT_S) as connection:
                outbox = connection.execute(dialect.outbox.count_pending_and_failed, [tenant.tenant_id]).fetchone()
                roots = published_roots(connection, tenant.tenant_id, dialect.roots, dialect.root_scheme)
                claimed = {root.root_date: root.leaf_count for root in roots}
                trees = DayTrees(tenant.tenant_id, claimed, dialect.root_scheme)
                verifier, forks = _walk(connection, dialect, tenant.tenant_id, trees, spool)
        except Unreadable as reason:
            return nothing_read(tenant.name, str(reason))
        usage_reason = _spool_usage(dsns, dialect.usage, tenant.tenant_id, spool)
        sets = _compared(spool)
    usage_is_known = not usage_reason
    return TenantAudit(
        chain=ChainEvidence(tenant=tenant.name, platform=None, independent=_independent(verifier, forks, sets)),
        reconciliation=ReconcileEvidence(
            tenant=tenant.name,
            billable_audit_rows=sets.billable,
            usage_rows=sets.usage if usage_is_known else None,
            audit_without_usage=sets.audit_without_usage if usage_is_known else None,
            usage_without_audit=sets.usage_without_audit if usage_is_known else None,
            billed_twice=sets.billed_twice if usage_is_known else None,
            outbox_pending=outbox[0] if outbox else None,
            outbox_failed=outbox[1] if outbox else None,
            samples=tuple(sets.samples) if usage_is_known else (),
            reason=usage_reason,
        ),
        roots=_roots(tenant.name, roots, trees, public_key_pem, dialect.root_scheme),
    )


def executed_after(
    resolved: ResolvedTarget, tenant_ids: Iterable[str], moment: datetime, not_counted: Iterable[str]
) -> int | None:
    """Audit rows of executed calls of some tenants after a moment.

    Args:
        resolved: the target.
        tenant_ids: UUIDs.
        moment: aware; by the platform's clock, such as `Silence.blocked_at`.
        not_counted: request ids of the probe.

    Returns:
        The count; None when the audit database cannot be read.
    """
    table = resolved.dialect.audit_rows
    parameters = [list(tenant_ids), moment, list(table.executed_decisions), list(not_counted)]
    try:
        with reading(resolved.dsns, "audit") as connection:
            row = connection.execute(table.count_executed_after, parameters).fetchone()
    except Unreadable:
        return None
    return int(row[0]) if row else None


def _walk(
    connection: Connection, dialect: Dialect, tenant_id: str, trees: DayTrees, spool: KeySpool
) -> tuple[ChainVerifier, int]:
    """One pass over the rows in chain order; a second, over few columns, only where a gap may be a fork."""
    table = dialect.audit_rows
    verifier = ChainVerifier(tenant_id, dialect.chain)
    for batch in read_batches(connection, tenant_id, table):
        verifier.check(batch)
        trees.add(batch)
        _spool_keys(batch, table, spool)
    if not verifier.suspects:
        return verifier, 0
    namings = sql.SQL(table.copy_namings).format(tenant_id, sorted(verifier.suspects))
    with connection.cursor().copy(namings) as copy:
        return verifier, forks_among(verifier.suspects, (str(prev_hash) for (prev_hash,) in copy.rows()))


def _spool_keys(batch: RowBatch, table: AuditRows, spool: KeySpool) -> None:
    keys = np.frombuffer(_keys(batch), dtype=f"V{KEY_BYTES}")
    billable = [table.is_billable(content.action, content.decision) for content in batch.contents]
    is_billable = np.array(billable)[batch.codes]
    spool.add(_BILLABLE, keys[is_billable].tobytes())
    spool.add(_NOT_BILLABLE, keys[~is_billable].tobytes())


def _keys(batch: RowBatch) -> bytes:
    """The key of each row's request; one that nothing else has for a row without request, which matches nothing."""
    keys = keys_of(batch.request_ids)
    if keys is not None:
        return keys
    return b"".join(key_of(row.request_id or f"row {row.row_id}") for row in map(batch.row, range(len(batch))))


def _spool_usage(dsns: Mapping[str, str], table: Usage, tenant_id: str, spool: KeySpool) -> str:
    """Why the usage records are not all in the spool; nothing when they are."""
    try:
        with reading(dsns, "usage", statement_timeout_s=STREAM_TIMEOUT_S) as connection:
            statement = sql.SQL(table.select_audit_ids).format(tenant_id)
            for batch in record_batches(connection, statement, _KEYS_BATCH_BYTES):
                audit_ids = bytes_of(batch.column(0))
                keys = keys_of(audit_ids)
                spool.add(_USAGE, keys or b"".join(key_of(text_of(text) or "") for text in audit_ids.to_pylist()))
            without_id = connection.execute(table.count_without_audit_id, [tenant_id]).fetchone()
            for index in range(without_id[0] if without_id else 0):
                spool.add(_USAGE, key_of(f"usage record {index} of {tenant_id} without audit_id"))
    except Unreadable as reason:
        return str(reason)
    return ""


def _compared(spool: KeySpool) -> _KeySets:
    sets = _KeySets()
    for some in spool.counts():
        billable, usage, acknowledged = (some.counts[name] for name in (_BILLABLE, _USAGE, _ACKNOWLEDGED))
        audit = billable + some.counts[_NOT_BILLABLE]
        unbilled, unaudited = (billable > 0) & (usage == 0), (usage > 0) & (audit == 0)
        sets.duplicate_requests += int((audit > 1).sum())
        sets.billed_twice += int((usage > 1).sum())
        sets.billable += int(billable.sum())
        sets.usage += int(usage.sum())
        sets.acknowledged += int((acknowledged > 0).sum())
        sets.acknowledged_missing += int(((acknowledged > 0) & (audit == 0)).sum())
        sets.audit_without_usage += int(unbilled.sum())
        sets.usage_without_audit += int(unaudited.sum())
        for what, keys in (("audit without usage", unbilled), ("usage without audit", unaudited)):
            few = some.keys[keys][: _SAMPLES - len(sets.samples)]
            sets.samples += sorted(f"{what}: {uuid_of(key.tobytes())}" for key in few)
    return sets


def _independent(verifier: ChainVerifier, forks: int, sets: _KeySets) -> IndependentChain:
    return IndependentChain(
        rows=verifier.rows,
        tampered=verifier.tampered,
        gaps=verifier.gaps,
        forks=forks,
        duplicate_requests=sets.duplicate_requests,
        out_of_order=verifier.out_of_order,
        acknowledged=sets.acknowledged,
        acknowledged_missing=sets.acknowledged_missing,
        samples=tuple(verifier.samples),
    )


def _roots(
    tenant: str, roots: list[PublishedRoot], trees: DayTrees, public_key_pem: str | None, scheme: RootScheme
) -> tuple[RootEvidence, ...]:
    published = {root.root_date: root for root in roots}
    signatures = {day: judge_signature(root, public_key_pem, scheme) for day, root in published.items()}
    return tuple(
        root_evidence(tenant, day, published.get(day), trees, signatures.get(day), scheme)
        for day in sorted(published.keys() | trees.rows_by_day.keys())
    )


def nothing_read(tenant: str, reason: str) -> TenantAudit:
    """Of a tenant (by name) whose audit rows could not be read."""
    return TenantAudit(
        chain=ChainEvidence(tenant=tenant, platform=None, independent=None, reason=reason),
        reconciliation=ReconcileEvidence(tenant=tenant, reason=reason),
        roots=(),
    )
