"""The readers of audit rows, usage and roots, on a real PostgreSQL with rows made by hand."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import psycopg.conninfo
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from psycopg.types.json import Jsonb

from soak_pipeline.dialect.hashing import ChainRow
from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.model.stage_outputs import IndependentChain, ReconcileEvidence, RootEvidence
from soak_pipeline.target.arrow_columns import column_of
from soak_pipeline.target.audit import TenantAudit, executed_after, read_tenant
from soak_pipeline.target.merkle import MerkleTree
from soak_pipeline_tests.target import examples, rows
from soak_pipeline_tests.target.rows import calls, chain

TENANT = examples.plan().tenants[0]
OTHER = examples.plan().tenants[1]
KEY = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
DAY = "2026-11-23"
Dsns = dict[str, str]


def _ids(of: Iterable[ChainRow]) -> list[str]:
    return [row.request_id for row in of if row.request_id]


def _fill(dsns: Dsns, audit: list[ChainRow], usage: Iterable[str | None] | None = None) -> None:
    rows.insert_audit(dsns["audit"], TENANT.tenant_id, audit)
    billable = [row.request_id for row in audit if row.action == "execute_tool" and row.decision != "reject"]
    rows.insert_usage(dsns["usage"], TENANT.tenant_id, billable if usage is None else usage)


def _read(dsns: Dsns, acknowledged: Iterable[str] = (), **options: Any) -> TenantAudit:
    keys = (UUID(request_id).bytes for request_id in acknowledged)
    return read_tenant(dsns, nominal.DIALECT, TENANT, keys, **options)


def _chain(dsns: Dsns, acknowledged: Iterable[str] = ()) -> IndependentChain:
    independent = _read(dsns, acknowledged).chain.independent
    assert independent is not None
    return independent


def _violations(evidence: IndependentChain) -> dict[str, int]:
    names = ("tampered", "gaps", "forks", "duplicate_requests", "out_of_order", "acknowledged_missing")
    return {name: getattr(evidence, name) for name in names if getattr(evidence, name)}


def test_a_valid_chain_of_varied_rows_has_no_violation(dsns: Dsns) -> None:
    varied = calls(40)
    varied[3] = rows.without(varied[3], metadata={}, tool=None, reason=None)
    varied[4] = rows.without(
        varied[4], reason='tab\there, "quotes", \\N, line\nbreak, Ärger 😀', metadata={"t": "\\ \t\n"}
    )
    varied[5] = rows.without(varied[5], request_id=None, action="user_login")
    varied[6] = rows.without(varied[6], request_id="not a uuid", action="bad_request")
    varied[7] = rows.without(varied[7], timestamp=varied[7].timestamp.replace(microsecond=50_000))
    varied[8] = rows.without(
        varied[8], metadata={"n": [1.5, 0.1, 1e-07, 12345678901234567890, -0.25], "ä": {"b": 1, "a": None}}
    )
    audit = chain(TENANT.tenant_id, varied)
    _fill(dsns, audit)
    evidence = _chain(dsns, _ids(audit[10:]))
    assert _violations(evidence) == {}
    assert (evidence.rows, evidence.acknowledged) == (40, 30)
    assert evidence.samples == ()


def test_a_role_that_may_only_read_is_enough(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit)
    of_reader = {name: psycopg.conninfo.make_conninfo(dsn, user="reader", password="r") for name, dsn in dsns.items()}
    with ExitStack() as stack:
        for name in ("audit", "usage"):
            connection = stack.enter_context(psycopg.connect(dsns[name], autocommit=True))
            if name == "audit":
                connection.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
                stack.callback(connection.execute, "DROP ROLE reader")
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
            stack.callback(connection.execute, "DROP OWNED BY reader")
        read = _read(of_reader, _ids(audit), public_key_pem=PEM)
    assert read.chain.independent is not None
    assert (read.chain.independent.rows, read.chain.independent.acknowledged_missing) == (5, 0)
    assert read.reconciliation.usage_rows == 5
    assert read.roots == (GOOD,)


def test_another_tenants_rows_are_not_read(dsns: Dsns) -> None:
    _fill(dsns, chain(TENANT.tenant_id, calls(3)))
    rows.insert_audit(
        dsns["audit"], OTHER.tenant_id, chain(OTHER.tenant_id, calls(5, start=rows.START + timedelta(days=1)))
    )
    assert _chain(dsns).rows == 3


def test_a_tampered_row(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(10))
    audit[4] = audit[4]._replace(metadata='{"status": 200, "latency_ms": 1}')
    _fill(dsns, audit)
    assert _violations(_chain(dsns)) == {"tampered": 1}


def test_a_deleted_row_is_a_gap_and_was_acknowledged(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(10))
    _fill(dsns, audit[:4] + audit[5:])
    assert _violations(_chain(dsns, _ids(audit))) == {"gaps": 1, "acknowledged_missing": 1}


def test_a_dropped_event_breaks_no_chain_but_was_acknowledged(dsns: Dsns) -> None:
    all_calls = calls(10)
    _fill(dsns, chain(TENANT.tenant_id, all_calls[:4] + all_calls[5:]))
    assert _violations(_chain(dsns, [call.request_id or "" for call in all_calls])) == {"acknowledged_missing": 1}


def test_a_fork_is_told_from_a_gap(dsns: Dsns) -> None:
    of = calls(4)
    trunk = chain(TENANT.tenant_id, of[:2])
    _fill(
        dsns,
        trunk
        + chain(TENANT.tenant_id, of[2:3], trunk[-1].event_hash)
        + chain(TENANT.tenant_id, of[3:], trunk[-1].event_hash),
    )
    assert _violations(_chain(dsns)) == {"gaps": 1, "forks": 1}


def test_a_row_that_goes_back_in_time(dsns: Dsns) -> None:
    of = calls(4)
    of[3] = rows.without(of[3], timestamp=rows.START - timedelta(hours=1))
    _fill(dsns, chain(TENANT.tenant_id, of))
    assert _violations(_chain(dsns)) == {"out_of_order": 1}


def test_a_request_with_two_rows(dsns: Dsns) -> None:
    of = calls(4)
    of[3] = rows.without(of[3], request_id=of[1].request_id)
    with psycopg.connect(dsns["audit"], autocommit=True) as connection:
        connection.execute("DROP INDEX audit_logs_request")
        try:
            _fill(dsns, chain(TENANT.tenant_id, of), usage=[call.request_id for call in of[:3]])
            assert _violations(_chain(dsns)) == {"duplicate_requests": 1}
        finally:
            connection.execute("TRUNCATE audit_logs")
            connection.execute("CREATE UNIQUE INDEX audit_logs_request ON audit_logs (request_id)")


def _reconciled(dsns: Dsns) -> ReconcileEvidence:
    return _read(dsns).reconciliation


def test_usage_that_matches_audit(dsns: Dsns) -> None:
    of = calls(6)
    of[0] = rows.without(of[0], action="user_login")
    of[1] = rows.without(of[1], decision="reject")
    of[2] = rows.without(of[2], decision="block")
    _fill(dsns, chain(TENANT.tenant_id, of))
    assert _reconciled(dsns) == ReconcileEvidence(
        tenant="A",
        billable_audit_rows=4,
        usage_rows=4,
        audit_without_usage=0,
        usage_without_audit=0,
        billed_twice=0,
        outbox_pending=0,
        outbox_failed=0,
    )


def test_gaps_on_both_sides_are_counted_and_sampled(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(6))
    stray = "99999999-0000-4000-8000-000000000000"
    _fill(dsns, audit, usage=[*_ids(audit)[2:], stray, None])
    evidence = _reconciled(dsns)
    assert (evidence.audit_without_usage, evidence.usage_without_audit, evidence.usage_rows) == (2, 2, 6)
    assert {f"audit without usage: {audit[0].request_id}", f"usage without audit: {stray}"} <= set(evidence.samples)


def test_usage_of_a_call_that_is_not_billable_is_no_gap(dsns: Dsns) -> None:
    """The platform's own reconciliation compares usage with all audit rows, whatever their action."""
    of = [rows.without(call, action="behavior_firewall_decision") for call in calls(2)]
    _fill(dsns, chain(TENANT.tenant_id, of), usage=[call.request_id for call in of])
    evidence = _reconciled(dsns)
    assert (evidence.billable_audit_rows, evidence.audit_without_usage, evidence.usage_without_audit) == (0, 0, 0)


def test_a_billable_row_without_request_id_cannot_be_billed(dsns: Dsns) -> None:
    _fill(dsns, chain(TENANT.tenant_id, [rows.without(calls(1)[0], request_id=None)]), usage=[])
    assert _reconciled(dsns).audit_without_usage == 1


def test_a_call_billed_twice(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(3))
    with psycopg.connect(dsns["usage"], autocommit=True) as connection:
        connection.execute("ALTER TABLE usage_records DROP CONSTRAINT usage_records_audit_id_key")
        try:
            _fill(dsns, audit, usage=[*_ids(audit), *_ids(audit)[:2], *_ids(audit)[:1]])
            evidence = _reconciled(dsns)
            assert (evidence.billed_twice, evidence.usage_rows, evidence.audit_without_usage) == (2, 6, 0)
        finally:
            connection.execute("TRUNCATE usage_records")
            connection.execute("ALTER TABLE usage_records ADD UNIQUE (audit_id)")


def test_the_outbox_is_counted_by_status(dsns: Dsns) -> None:
    _fill(dsns, chain(TENANT.tenant_id, calls(1)))
    with psycopg.connect(dsns["audit"]) as connection:
        for status, tenant in [("pending", TENANT), ("pending", TENANT), ("failed", TENANT), ("pending", OTHER)]:
            connection.execute(
                "INSERT INTO pending_usage_events (org_id, tenant_id, audit_id, status, occurred_at)"
                " VALUES (%s, %s, gen_random_uuid(), %s, now())",
                [tenant.tenant_id, tenant.tenant_id, status],
            )
    evidence = _reconciled(dsns)
    assert (evidence.outbox_pending, evidence.outbox_failed) == (2, 1)


def test_without_the_audit_database_everything_is_unknown(dsns: Dsns) -> None:
    del dsns["audit"]
    audit = _read(dsns)
    assert audit.chain.independent is None
    assert audit.reconciliation == ReconcileEvidence(tenant="A", reason=audit.chain.reason)
    assert audit.chain.reason == "the target gives no access to the audit database (databases.audit)"
    assert audit.roots == ()


def test_without_the_usage_database_the_chain_is_still_verified(dsns: Dsns) -> None:
    _fill(dsns, chain(TENANT.tenant_id, calls(3)))
    dsns["usage"] = dsns["usage"].replace("acp_usage", "no_such_database")
    audit = _read(dsns)
    assert audit.chain.independent is not None
    assert (audit.reconciliation.billable_audit_rows, audit.reconciliation.usage_rows) == (3, None)
    assert audit.reconciliation.audit_without_usage is None
    assert "no_such_database" in audit.reconciliation.reason


def test_a_failure_names_no_password(dsns: Dsns) -> None:
    dsns["audit"] = "postgresql://acp:wrong-secret-5@127.0.0.1:1/acp_audit"
    reason = _read(dsns).chain.reason
    assert reason.startswith("audit database: ")
    assert "wrong-secret-5" not in reason


def _publish(dsns: Dsns, audit: list[ChainRow], day: str = DAY, *, signed: bool = True, **claims: object) -> None:
    """Seals rows as the platform would, with changed claims for the faults."""
    tree = MerkleTree(nominal.DIALECT.root_scheme.tree)
    tree.extend(column_of(nominal.DIALECT.root_scheme.receipts.receipt_of(row, TENANT.tenant_id) for row in audit))
    receipt: dict[str, object] = {
        "version": 4,
        "kind": "transparency_root",
        "tenant_id": TENANT.tenant_id,
        "root_date": day,
        "root_hash": tree.root(),
        "leaf_count": len(audit),
        "window_end": audit[-1].timestamp,
        **claims,
    }
    canonical = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    signature = KEY.sign(canonical if signed else b"something else")
    envelope = {
        "receipt": receipt,
        "signature": base64.urlsafe_b64encode(signature).rstrip(b"=").decode(),
        "algorithm": "ed25519",
        "public_key_fingerprint": hashlib.sha256(PEM.encode()).hexdigest(),
    }
    with psycopg.connect(dsns["audit"]) as connection:
        connection.execute(
            "INSERT INTO transparency_roots (tenant_id, root_date, root_hash, leaf_count, signed_root_payload,"
            " leaf_range_start_id, leaf_range_end_id, window_end, signing_key_fingerprint)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [TENANT.tenant_id, day, receipt["root_hash"], receipt["leaf_count"], Jsonb(envelope), audit[0].row_id,
             audit[-1].row_id, audit[-1].timestamp, envelope["public_key_fingerprint"]],
        )  # fmt: skip


def _root(dsns: Dsns, **options: Any) -> RootEvidence:
    (root,) = _read(dsns, **{"public_key_pem": PEM, **options}).roots
    return root


GOOD = RootEvidence(
    tenant="A", root_date=DAY, present=True, leaf_count=5, audit_rows=5, covers_last_row=True, signature_valid=True,
    root_hash_matches=True,
)  # fmt: skip


def test_a_root_over_all_rows_is_confirmed(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit)
    assert _root(dsns) == GOOD


def test_a_day_without_root(dsns: Dsns) -> None:
    _fill(dsns, chain(TENANT.tenant_id, calls(5)))
    assert _root(dsns) == RootEvidence(
        tenant="A", root_date=DAY, present=False, audit_rows=5, reason="5 audit rows and no root"
    )


def test_a_stale_root_is_right_as_far_as_it_goes(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit[:3])
    assert _root(dsns) == msgspec.structs.replace(GOOD, leaf_count=3, covers_last_row=False)


def test_a_root_with_a_wrong_leaf_count(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit, leaf_count=6)
    assert _root(dsns) == msgspec.structs.replace(GOOD, leaf_count=6, root_hash_matches=False)


def test_a_root_of_other_rows(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit, root_hash="ab" * 32)
    assert _root(dsns) == msgspec.structs.replace(GOOD, root_hash_matches=False)


def test_a_wrong_signature(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit, signed=False)
    assert _root(dsns) == msgspec.structs.replace(GOOD, signature_valid=False)


def test_a_row_that_says_other_than_its_signed_receipt(dsns: Dsns) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit)
    with psycopg.connect(dsns["audit"]) as connection:
        connection.execute("UPDATE transparency_roots SET root_hash = %s", ["cd" * 32])
    assert _root(dsns) == msgspec.structs.replace(GOOD, signature_valid=False, root_hash_matches=False)


@pytest.mark.parametrize("pem", [None, "not a key"])
def test_without_a_key_the_signature_is_unknown(dsns: Dsns, pem: str | None) -> None:
    audit = chain(TENANT.tenant_id, calls(5))
    _fill(dsns, audit)
    _publish(dsns, audit)
    root = _root(dsns, public_key_pem=pem)
    assert root.signature_valid is None
    assert "no ed25519 key" in root.reason


def test_a_run_across_midnight_has_two_roots(dsns: Dsns) -> None:
    audit = chain(
        TENANT.tenant_id,
        calls(4, start=datetime.fromisoformat("2026-11-23T23:59:59.500001+00:00"), step=timedelta(seconds=0.2)),
    )
    _fill(dsns, audit)
    _publish(dsns, audit[:3])
    _publish(dsns, audit[3:], "2026-11-24")
    roots = _read(dsns, public_key_pem=PEM).roots
    assert [(root.root_date, root.audit_rows, root.covers_last_row, root.root_hash_matches) for root in roots] == [
        ("2026-11-23", 3, True, True),
        ("2026-11-24", 1, True, True),
    ]


def test_executions_after_a_moment(dsns: Dsns) -> None:
    of = calls(8, step=timedelta(seconds=1))
    of[5] = rows.without(of[5], action="rate_limited", decision="deny")
    of[6] = rows.without(of[6], tool="management_api")
    _fill(dsns, chain(TENANT.tenant_id, of))
    resolved = examples.resolved(dsns=dsns)
    tenants = [TENANT.tenant_id, OTHER.tenant_id]
    assert (
        executed_after(resolved, tenants, of[2].timestamp, []) == 3
    )  # Of the last five, one was limited and one a read.
    assert executed_after(resolved, tenants, of[2].timestamp, [of[7].request_id or ""]) == 2
    assert executed_after(resolved, tenants, of[7].timestamp, []) == 0
    assert executed_after(examples.resolved(), tenants, of[2].timestamp, []) is None
