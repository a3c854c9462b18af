"""The Merkle tree of a day's audit rows, computed anew.

Owns the hashing: leaf SHA-256(0x00 || data), node SHA-256(0x01 || left || right), an odd node is promoted unchanged,
the empty tree is SHA-256 of nothing (RFC 6962, section 2.1); and the receipt that is the data of a row's leaf.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring as quoted

from soak_pipeline.target.chain_verifier import ChainRow

RECEIPT_VERSION = 4


class MerkleTree:
    """A tree that grows at its right; memory and work per leaf are logarithmic."""

    def __init__(self) -> None:
        self.leaf_count = 0
        self._complete: list[bytes] = []

    def append(self, data: bytes) -> None:
        """Adds a leaf."""
        node = sha256(b"\x00" + data).digest()
        # Every trailing one-bit of the count is a complete subtree of the same size as the node so far.
        count = self.leaf_count
        while count & 1:
            node = sha256(b"\x01" + self._complete.pop() + node).digest()
            count >>= 1
        self._complete.append(node)
        self.leaf_count += 1

    def root(self) -> str:
        """Hash of the leaves so far (hex)."""
        if not self._complete:
            return sha256(b"").hexdigest()
        node = self._complete[-1]
        for left in self._complete[-2::-1]:
            node = sha256(b"\x01" + left + node).digest()
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
        self._tenant = quoted(tenant_id)
        self._claimed = leaf_counts
        self._trees = {day: MerkleTree() for day in leaf_counts}
        self._roots = {day: MerkleTree().root() for day, count in leaf_counts.items() if count == 0}

    def add(self, row: ChainRow) -> None:
        """Takes the next row, in chain order."""
        day = row[4][:10]
        self.rows_by_day[day] = self.rows_by_day.get(day, 0) + 1
        self.last_timestamp_by_day[day] = row[4]
        tree = self._trees.get(day)
        if tree is None or tree.leaf_count >= self._claimed[day]:
            return
        tree.append(receipt_of(row, self._tenant))
        if tree.leaf_count == self._claimed[day]:
            self._roots[day] = tree.root()

    def root_of(self, day: str) -> str | None:
        """Root (hex) of the first leaves of a day, as many as its published root claims; None when there are fewer."""
        return self._roots.get(day)


def receipt_of(row: ChainRow, quoted_tenant: str) -> bytes:
    """The receipt of a row in canonical JSON: keys sorted, compact, UTF-8."""
    row_id, request_id, prev_hash, event_hash, timestamp, action, tool, decision, reason, agent_id, _, _, shard = row
    return (
        f'{{"action":{_quoted(action)},"agent_id":{quoted(agent_id)},"chain_shard":{shard or 0},'
        f'"decision":{_quoted(decision)},"event_hash":{quoted(event_hash)},"execution_id":{quoted(row_id)},'
        f'"prev_hash":{quoted(prev_hash)},"reason":{_quoted(reason)},'
        f'"request_id":{"null" if request_id is None else quoted(request_id)},"tenant_id":{quoted_tenant},'
        f'"timestamp":{quoted(timestamp)},"tool":{_quoted(tool)},"version":{RECEIPT_VERSION}}}'
    ).encode()


@lru_cache(maxsize=4096)
def _quoted(text: str | None) -> str:
    return "null" if text is None else quoted(text)
