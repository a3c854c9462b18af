"""The Merkle tree of a day's audit rows, computed anew.

Owns the growing of trees, a batch of leaves at a time. What is hashed is the dialect's: `TreeScheme`, `ReceiptScheme`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from soak_pipeline.dialect.hashing import ReceiptScheme, RootScheme, TreeScheme
from soak_pipeline.target.arrow_columns import column_of, digests_of, interleaved, mapped, slices
from soak_pipeline.target.audit_rows import RowBatch, text_of
from soak_pipeline.target.row_spelling import REASONS, RowSpelling

_DAY_CHARACTERS = 10
_PAIR_BYTES = 64


class MerkleTree:
    """A tree that grows at its right; memory is logarithmic."""

    def __init__(self, scheme: TreeScheme) -> None:
        self._scheme = scheme
        self.leaf_count = 0
        #: By height, the complete subtree that still waits for its right neighbour; nothing where none does.
        self._waiting: list[bytes] = []

    def extend(self, leaves: pa.BinaryArray) -> None:
        """Adds the data of leaves."""
        self.leaf_count += len(leaves)
        nodes = digests_of(interleaved(self._scheme.leaf_prefix, leaves))
        height = 0
        while nodes:
            if height == len(self._waiting):
                self._waiting.append(b"")
            nodes = self._waiting[height] + nodes
            paired_bytes = len(nodes) - len(nodes) % _PAIR_BYTES
            self._waiting[height] = nodes[paired_bytes:]
            nodes = digests_of(interleaved(self._scheme.node_prefix, slices(nodes[:paired_bytes], _PAIR_BYTES)))
            height += 1

    def root(self) -> str:
        """Hash of the leaves so far (hex)."""
        return self._scheme.root_of(self._waiting)


class DayTrees:
    """The trees of one tenant's rows by UTC day, each remembered at the size that a root claims.

    Args:
        tenant_id: UUID text.
        leaf_counts: what the published roots claim, by date (`YYYY-MM-DD`); only these days are hashed.
        scheme: how a day's root is made.
    """

    def __init__(self, tenant_id: str, leaf_counts: dict[str, int], scheme: RootScheme) -> None:
        self.rows_by_day: dict[str, int] = {}
        self.last_timestamp_by_day: dict[str, str] = {}
        self._tenant_id = tenant_id
        self._claimed = leaf_counts
        self._trees = {day: MerkleTree(scheme.tree) for day in leaf_counts}
        self._receipts: ReceiptScheme = scheme.receipts
        self._spelling = RowSpelling(lambda row: self._receipts.receipt_of(row, tenant_id))

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
            tree.extend(self._leaves(batch.slice(0, min(len(batch), self._claimed[day] - tree.leaf_count))))

    def _leaves(self, batch: RowBatch) -> pa.BinaryArray:
        """The receipts of rows, column by column; `ReceiptScheme.receipt_of` defines them."""

        def values(column: str) -> pa.BinaryArray:
            if column == REASONS:
                return mapped(batch.reasons, lambda reason: self._receipts.spelt_reason(text_of(reason)))
            return getattr(batch, column)

        receipts = interleaved(*self._spelling.parts(batch, values))
        if not batch.unusual:
            return receipts
        each = receipts.to_pylist()
        for index in batch.unusual:
            each[index] = self._receipts.receipt_of(batch.row(index), self._tenant_id)
        return column_of(each)
