"""The Merkle tree of a day's audit rows, computed anew.

Owns the hashing: leaf SHA-256(0x00 || data), node SHA-256(0x01 || left || right), an odd node is promoted unchanged,
the empty tree is SHA-256 of nothing (RFC 6962, section 2.1); and the receipt that is the data of a row's leaf.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc

from soak_pipeline.target.arrow_columns import column_of, digests_of, interleaved, mapped, slices
from soak_pipeline.target.audit_rows import ChainRow, Content, RowBatch, text_of

RECEIPT_VERSION = 4
_DAY_CHARACTERS = 10
_LEAF, _NODE = b"\x00", b"\x01"
_PAIR_BYTES = 64
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class MerkleTree:
    """A tree that grows at its right; memory is logarithmic."""

    def __init__(self) -> None:
        self.leaf_count = 0
        #: By height, the complete subtree that still waits for its right neighbour; nothing where none does.
        self._waiting: list[bytes] = []

    def extend(self, leaves: pa.BinaryArray) -> None:
        """Adds the data of leaves."""
        self.leaf_count += len(leaves)
        nodes = digests_of(interleaved(_LEAF, leaves))
        height = 0
        while nodes:
            if height == len(self._waiting):
                self._waiting.append(b"")
            nodes = self._waiting[height] + nodes
            paired_bytes = len(nodes) - len(nodes) % _PAIR_BYTES
            self._waiting[height] = nodes[paired_bytes:]
            nodes = digests_of(interleaved(_NODE, slices(nodes[:paired_bytes], _PAIR_BYTES)))
            height += 1

    def root(self) -> str:
        """Hash of the leaves so far (hex)."""
        subtrees = [subtree for subtree in self._waiting if subtree]
        if not subtrees:
            return sha256(b"").hexdigest()
        node = subtrees[0]
        for left in subtrees[1:]:
            node = sha256(_NODE + left + node).digest()
        return node.hex()


class DayTrees:
    """The trees of one tenant's rows by UTC day, each remembered at the size that a root claims.

    Args:
        tenant_id: UUID text.
        leaf_counts: what the published roots claim, by date (`YYYY-MM-DD`); only these days are hashed.
    """

    def __init__(self, tenant_id: str, leaf_counts: dict[str, int]) -> None:
        self.rows_by_day: dict[str, int] = {}
        self.last_timestamp_by_day: dict[str, str] = {}
        self._tenant_id = tenant_id
        self._claimed = leaf_counts
        self._trees = {day: MerkleTree() for day in leaf_counts}
        # Nobody can put into a row the text that marks the gaps of its receipt.
        self._marker = secrets.token_hex(16)

    def add(self, batch: RowBatch) -> None:
        """Takes the next rows, in chain order."""
        days = pc.run_end_encode(pc.binary_slice(batch.timestamps, 0, _DAY_CHARACTERS))
        begin = 0
        for day, end in zip(days.values.to_pylist(), days.run_ends.to_pylist(), strict=True):
            self._add(day.decode(), batch.slice(begin, end))
            begin = end

    def root_of(self, day: str) -> str | None:
        """Root (hex) of the first leaves of a day, as many as its published root claims; None when there are fewer."""
        tree = self._trees.get(day)
        return tree.root() if tree is not None and tree.leaf_count == self._claimed[day] else None

    def _add(self, day: str, batch: RowBatch) -> None:
        self.rows_by_day[day] = self.rows_by_day.get(day, 0) + len(batch)
        self.last_timestamp_by_day[day] = batch.timestamps[-1].as_py().decode()
        tree = self._trees.get(day)
        if tree is not None and tree.leaf_count < self._claimed[day]:
            tree.extend(self._receipts(batch.slice(0, min(len(batch), self._claimed[day] - tree.leaf_count))))

    def _receipts(self, batch: RowBatch) -> pa.BinaryArray:
        """The receipts of rows, column by column; `receipt_of` defines them."""
        pieces = batch.pieces(self._spelling)
        before_agent, before_event, before_row, before_prev, before_reason, before_request, before_time, end = pieces
        receipts = interleaved(
            before_agent, batch.agent_ids, before_event, batch.event_hashes, before_row, batch.row_ids, before_prev,
            batch.prev_hashes, before_reason, mapped(batch.reasons, _quoted), before_request, batch.request_ids,
            before_time, batch.timestamps, end,
        )  # fmt: skip
        if not batch.unusual:
            return receipts
        each = receipts.to_pylist()
        for index in batch.unusual:
            each[index] = receipt_of(batch.row(index), self._tenant_id)
        return column_of(each)

    def _spelling(self, content: Content) -> Sequence[bytes]:
        """A receipt of a row with this content, cut where a value stands that differs from row to row."""
        action, tool, decision, hash_version, shard = content
        mark = self._marker
        row = ChainRow(
            row_id=mark, request_id=mark, prev_hash=mark, event_hash=mark, timestamp=mark, action=action, tool=tool,
            decision=decision, reason=mark, agent_id=mark, metadata=None, hash_version=hash_version, shard=shard,
        )  # fmt: skip
        pieces = receipt_of(row, self._tenant_id).split(mark.encode())
        # A reason may be null, and so brings its own quotes.
        return *pieces[:4], pieces[4].removesuffix(b'"'), pieces[5].removeprefix(b'"'), *pieces[6:]


def receipt_of(row: ChainRow, tenant_id: str) -> bytes:
    """The receipt of a row in canonical JSON: keys sorted, compact, UTF-8."""
    return _CANONICAL.encode(
        {
            "version": RECEIPT_VERSION,
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


def _quoted(reason: bytes | None) -> bytes:
    return _CANONICAL.encode(text_of(reason)).encode()
