"""What is hashed of an audit row, of a receipt and of a day's tree.

These are the definitions, row by row, in Python's own JSON. Whoever has millions of rows derives a quicker spelling
from them, and lets the definition decide where that does not confirm a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from soak_pipeline.dialect.requests import Request

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_FIELDS = json.JSONEncoder(sort_keys=True)
METADATA_DIGEST = "metadata_sha256"


class ChainRow(NamedTuple):
    """One audit row as text; None is null.

    Attributes:
        row_id, request_id, agent_id: UUID texts; a request id may be any text.
        prev_hash, event_hash: hex.
        timestamp: ISO 8601 in UTC with six digits of a second and `+00:00`, so that texts sort like times.
        action, tool, decision, reason: as stored.
        metadata: JSON text, in any spelling.
        hash_version: number of the rule by which the row was hashed; None where there is none.
        shard: of the chain.
    """

    row_id: str
    request_id: str | None
    prev_hash: str
    event_hash: str
    timestamp: str
    action: str
    tool: str | None
    decision: str
    reason: str | None
    agent_id: str
    metadata: str | None
    hash_version: str | None
    shard: str | None


@dataclass(frozen=True, kw_only=True)
class ChainScheme:
    """How a row is chained: `event_hash = sha256_hex(prev_hash + json(fields))`.

    The JSON has sorted keys, default separators and ASCII escapes; null is the empty text.

    Attributes:
        genesis: previous hash of the first row of each shard.
        fields_by_version: which fields are hashed, by `ChainRow.hash_version`; of `action`, `agent_id`, `decision`,
            `metadata_sha256`, `reason`, `request_id`, `tenant_id`, `timestamp` and `tool`.
        fields_otherwise: those of a row with any other version, or none.
    """

    genesis: str
    fields_by_version: Mapping[str, tuple[str, ...]]
    fields_otherwise: tuple[str, ...]

    def fields_of(self, hash_version: str | None) -> tuple[str, ...]:
        """Which fields are hashed of a row of this version."""
        return self.fields_by_version.get(hash_version or "", self.fields_otherwise)

    def is_hash_right(self, row: ChainRow, tenant_id: str) -> bool:
        """Whether a row's content gives its hash."""
        text = row.prev_hash + self.hashed_text(row, tenant_id, _metadata_digest(row.metadata))
        return sha256(text.encode()).hexdigest() == row.event_hash

    def hashed_text(self, row: ChainRow, tenant_id: str, metadata_digest: str) -> str:
        """What is hashed after the previous hash.

        Args:
            row: the row.
            tenant_id: UUID text.
            metadata_digest: SHA-256 (hex) of its metadata in compact sorted JSON.
        """
        values = {
            "action": row.action,
            "agent_id": row.agent_id,
            "decision": row.decision,
            METADATA_DIGEST: metadata_digest,
            "reason": row.reason or "",
            "request_id": row.request_id or "",
            "tenant_id": tenant_id,
            "timestamp": row.timestamp,
            "tool": row.tool or "",
        }
        return _FIELDS.encode({name: values[name] for name in self.fields_of(row.hash_version)})

    def spelt_reason(self, reason: str | None) -> bytes:
        """A reason as it stands in the hashed text, with its quotes."""
        return _FIELDS.encode(reason or "").encode()


@dataclass(frozen=True, kw_only=True)
class ReceiptScheme:
    """The receipt of a row, which is the data of its leaf: canonical JSON, keys sorted, compact, UTF-8.

    Attributes:
        version: that receipts bear.
    """

    version: int

    def receipt_of(self, row: ChainRow, tenant_id: str) -> bytes:
        """The receipt of a row."""
        return _CANONICAL.encode(
            {
                "version": self.version,
                "execution_id": row.row_id,
                "tenant_id": tenant_id,
                "agent_id": row.agent_id,
                "tool": row.tool,
                "action": row.action,
                "decision": row.decision,
                "reason": row.reason,
                "request_id": row.request_id,
                "timestamp": row.timestamp,
                "event_hash": row.event_hash,
                "prev_hash": row.prev_hash,
                "chain_shard": int(row.shard or 0),
            }
        ).encode()

    def spelt_reason(self, reason: str | None) -> bytes:
        """A reason as it stands in the receipt, with its quotes where it has any."""
        return _CANONICAL.encode(reason).encode()


@dataclass(frozen=True, kw_only=True)
class TreeScheme:
    """A Merkle tree over leaves, by RFC 6962, section 2.1: an odd node is promoted unchanged.

    Attributes:
        leaf_prefix, node_prefix: what is hashed before the data of a leaf, and before the two children of a node.
        empty_root: hash of a tree without leaves (hex).
    """

    leaf_prefix: bytes
    node_prefix: bytes
    empty_root: str

    def root_of(self, subtrees: Sequence[bytes]) -> str:
        """Hash of a tree (hex).

        Args:
            subtrees: by height, the complete subtree at the right edge that has no right neighbour yet; empty where
                there is none.
        """
        complete = [subtree for subtree in subtrees if subtree]
        if not complete:
            return self.empty_root
        node = complete[0]
        for left in complete[1:]:
            node = sha256(self.node_prefix + left + node).digest()
        return node.hex()


@dataclass(frozen=True, kw_only=True)
class RootScheme:
    """The signed root of a day.

    Attributes:
        key_request: asks for the public key; needs no token.
        key_field: of its payload, with the key in PEM.
        receipt_key, signature_key, fingerprint_key: of the signed envelope.
        root_hash_key, leaf_count_key, date_key, window_end_key: of the receipt in it.
        receipts, tree: how a day's tree is made of its rows.
    """

    key_request: Request
    key_field: str
    receipt_key: str
    signature_key: str
    fingerprint_key: str
    root_hash_key: str
    leaf_count_key: str
    date_key: str
    window_end_key: str
    receipts: ReceiptScheme
    tree: TreeScheme

    def receipt_in(self, signed: object) -> dict[str, Any]:
        """What was signed; empty when the envelope has none."""
        receipt = signed.get(self.receipt_key) if isinstance(signed, dict) else None
        return receipt if isinstance(receipt, dict) else {}

    def signed_text(self, receipt: Mapping[str, Any]) -> bytes:
        """The bytes that are signed of a receipt."""
        return _CANONICAL.encode(receipt).encode()

    def fingerprint_of(self, public_key_pem: str) -> str:
        """Of a key, as the envelope names it."""
        return sha256(public_key_pem.encode()).hexdigest()


def exact_metadata(value: object) -> bytes:
    """Metadata in the spelling whose digest is hashed: compact, sorted, non-ASCII kept."""
    return _CANONICAL.encode(value).encode()


def _metadata_digest(metadata: str | None) -> str:
    """SHA-256 (hex) of the metadata; empty when it is not JSON."""
    try:
        return sha256(exact_metadata(json.loads(metadata or "{}") or {})).hexdigest()
    except ValueError:
        return ""
