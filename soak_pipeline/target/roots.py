"""Reads the published transparency roots of a tenant and checks them against its rows and the published key.

Owns the SQL and the signature check of `transparency_roots`. Never trusts a column that the signed receipt says
otherwise.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.stage_outputs import RootEvidence
from soak_pipeline.target.merkle import DayTrees

if TYPE_CHECKING:
    # The processes that read audit rows start sooner without an HTTP client.
    from soak_pipeline.target.gateway import Gateway

_ROOTS = """
    SELECT root_date::text, root_hash, leaf_count, signed_root_payload
    FROM transparency_roots WHERE tenant_id = %s ORDER BY root_date
"""


@dataclass(frozen=True, kw_only=True)
class PublishedRoot:
    """One row of `transparency_roots`.

    Attributes:
        root_date: `YYYY-MM-DD`, UTC.
        root_hash: hex.
        leaf_count: audit rows that it covers.
        signed: the envelope `{receipt, signature, algorithm, public_key_fingerprint}`.
    """

    root_date: str
    root_hash: str
    leaf_count: int
    signed: Any

    @property
    def receipt(self) -> dict[str, Any]:
        """What was signed; empty when the envelope has none."""
        receipt = self.signed.get("receipt") if isinstance(self.signed, dict) else None
        return receipt if isinstance(receipt, dict) else {}


def published_roots(connection: psycopg.Connection[tuple[Any, ...]], tenant_id: str) -> list[PublishedRoot]:
    """A tenant's roots, oldest first."""
    return [
        PublishedRoot(root_date=day, root_hash=str(root_hash or "").strip(), leaf_count=leaf_count or 0, signed=signed)
        for day, root_hash, leaf_count, signed in connection.execute(_ROOTS, [tenant_id])
    ]


def published_key(gateway: Gateway) -> str | None:
    """The public key (PEM) that the platform publishes; None when it gives none."""
    try:
        data = gateway.send("GET", "/transparency/key").data()
    except TargetFailed:
        return None
    pem = data.get("public_key_pem") if isinstance(data, dict) else None
    return pem if isinstance(pem, str) else None


def judge_signature(root: PublishedRoot | None, public_key_pem: str | None) -> bool | None:
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
    says_the_same = (receipt.get("root_hash"), receipt.get("leaf_count"), receipt.get("root_date")) == (
        root.root_hash,
        root.leaf_count,
        root.root_date,
    )
    fingerprint = hashlib.sha256(public_key_pem.encode()).hexdigest()
    if not says_the_same or root.signed.get("public_key_fingerprint") != fingerprint:
        return False
    return _is_signed(key, receipt, root.signed.get("signature"))


def root_evidence(
    tenant: str, day: str, root: PublishedRoot | None, trees: DayTrees, signature_valid: bool | None
) -> RootEvidence:
    """What a day's root is worth, held against the rows of that day."""
    rows = trees.rows_by_day.get(day, 0)
    if root is None:
        return RootEvidence(
            tenant=tenant, root_date=day, present=False, audit_rows=rows, reason=f"{rows} audit rows and no root"
        )
    recomputed = trees.root_of(day)
    return RootEvidence(
        tenant=tenant,
        root_date=day,
        present=True,
        leaf_count=root.leaf_count,
        audit_rows=rows,
        covers_last_row=rows == 0 or _reaches(root, trees.last_timestamp_by_day[day]),
        signature_valid=signature_valid,
        # A root over more leaves than there are rows is the root of something else.
        root_hash_matches=recomputed == root.root_hash,
        reason=""
        if signature_valid is not None
        else "the platform publishes no ed25519 key to check the signature with",
    )


def _reaches(root: PublishedRoot, last_timestamp: str) -> bool:
    try:
        return datetime.fromisoformat(str(root.receipt.get("window_end"))) >= datetime.fromisoformat(last_timestamp)
    except (ValueError, TypeError):
        return False


def _is_signed(key: Ed25519PublicKey, receipt: dict[str, Any], signature: object) -> bool:
    text = signature if isinstance(signature, str) else ""
    canonical = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        key.verify(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), canonical)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
