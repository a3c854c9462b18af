"""Reads the published transparency roots of a tenant and checks them against its rows and the published key.

Owns the signature check. Never trusts a column that the signed receipt says otherwise.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from soak_pipeline.dialect.audit_store import Roots
from soak_pipeline.dialect.hashing import RootScheme
from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.stage_outputs import RootEvidence
from soak_pipeline.target.merkle import DayTrees

if TYPE_CHECKING:
    # The processes that read audit rows start sooner without an HTTP client.
    from soak_pipeline.target.gateway import Gateway


@dataclass(frozen=True, kw_only=True)
class PublishedRoot:
    """One published root.

    Attributes:
        root_date: `YYYY-MM-DD`, UTC.
        root_hash: hex.
        leaf_count: audit rows that it covers.
        signed: the envelope with the receipt and its signature.
        receipt: what was signed; empty when the envelope has none.
    """

    root_date: str
    root_hash: str
    leaf_count: int
    signed: Any
    receipt: dict[str, Any]


def published_roots(
    connection: psycopg.Connection[tuple[Any, ...]], tenant_id: str, table: Roots, scheme: RootScheme
) -> list[PublishedRoot]:
    """A tenant's roots, oldest first."""
    return [
        PublishedRoot(
            root_date=day,
            root_hash=str(root_hash or "").strip(),
            leaf_count=leaf_count or 0,
            signed=signed,
            receipt=scheme.receipt_in(signed),
        )
        for day, root_hash, leaf_count, signed in connection.execute(table.select_roots, [tenant_id])
    ]


def published_key(gateway: Gateway) -> str | None:
    """The public key (PEM) that the platform publishes; None when it gives none."""
    scheme = gateway.dialect.root_scheme
    try:
        data = gateway.send(scheme.key_request).data()
    except TargetFailed:
        return None
    pem = data.get(scheme.key_field) if isinstance(data, dict) else None
    return pem if isinstance(pem, str) else None


def judge_signature(root: PublishedRoot | None, public_key_pem: str | None, scheme: RootScheme) -> bool | None:
    """Whether the root's signature is the key's, over a receipt that says what the row says; None if not checkable."""
    if root is None or public_key_pem is None:
        return None
    try:
        key = load_pem_public_key(public_key_pem.encode())
    except ValueError:
        return None
    if not isinstance(key, Ed25519PublicKey):
        return None
    receipt = root.receipt
    said = tuple(receipt.get(name) for name in (scheme.root_hash_key, scheme.leaf_count_key, scheme.date_key))
    if said != (root.root_hash, root.leaf_count, root.root_date):
        return False
    if root.signed.get(scheme.fingerprint_key) != scheme.fingerprint_of(public_key_pem):
        return False
    return _is_signed(key, scheme.signed_text(receipt), root.signed.get(scheme.signature_key))


def root_evidence(
    tenant: str, day: str, root: PublishedRoot | None, trees: DayTrees, signature_valid: bool | None, scheme: RootScheme
) -> RootEvidence:
    """What a day's root is worth, held against the rows of that day."""
    rows = trees.rows_by_day.get(day, 0)
    if root is None:
        return RootEvidence(
            tenant=tenant, root_date=day, present=False, audit_rows=rows, reason=f"{rows} audit rows and no root"
        )
    recomputed = trees.root_of(day)
    window_end = root.receipt.get(scheme.window_end_key)
    return RootEvidence(
        tenant=tenant,
        root_date=day,
        present=True,
        leaf_count=root.leaf_count,
        audit_rows=rows,
        covers_last_row=rows == 0 or _reaches(window_end, trees.last_timestamp_by_day[day]),
        signature_valid=signature_valid,
        # A root over more leaves than there are rows is the root of something else.
        root_hash_matches=recomputed == root.root_hash,
        reason=""
        if signature_valid is not None
        else "the platform publishes no ed25519 key to check the signature with",
    )


def _reaches(window_end: object, last_timestamp: str) -> bool:
    try:
        return datetime.fromisoformat(str(window_end)) >= datetime.fromisoformat(last_timestamp)
    except (ValueError, TypeError):
        return False


def _is_signed(key: Ed25519PublicKey, signed: bytes, signature: object) -> bool:
    text = signature if isinstance(signature, str) else ""
    try:
        key.verify(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), signed)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
