"""Spells a text of many audit rows at once, column by column, from the definition that spells it of one row.

Owns where in such a text the values stand that differ from row to row: the definition is asked with marks instead of
values. Never knows what the text is for.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from soak_pipeline.dialect.hashing import ChainRow
from soak_pipeline.target.audit_rows import Content, RowBatch

REASONS = "reasons"
"""A reason may be null, so its value brings its own quotes where the others stand between those of the text."""


class _Cut(NamedTuple):
    pieces: tuple[bytes, ...]
    columns: tuple[str, ...]


class RowSpelling:
    """Spells rows as a definition does.

    Args:
        definition: the text of one row, in which each value stands at most once, as it is or in JSON quotes.
    """

    def __init__(self, definition: Callable[[ChainRow], bytes]) -> None:
        self._definition = definition
        # Nobody can put into a row the text that marks the places of its values.
        self._mark = secrets.token_hex(16)
        self._marks = re.compile(rb"%s<(\w+)>" % self._mark.encode())

    def parts(self, batch: RowBatch, values: Callable[[str], pa.BinaryArray]) -> list[pa.BinaryArray]:
        """What each row's text is made of, in turn a piece that is the same for rows of one content, and a value.

        Args:
            batch: rows whose texts have the same columns in the same order.
            values: by the name of a column of `RowBatch`, what stands for it in the text.
        """
        cuts = {content: self._cut(content) for content in batch.contents}
        (columns,) = {cut.columns for cut in cuts.values()}
        first, *pieces = batch.pieces(lambda content: cuts[content].pieces)
        valued = zip(map(values, columns), pieces, strict=True)
        return [first, *(part for pair in valued for part in pair)]

    def _cut(self, content: Content) -> _Cut:
        def mark(column: str) -> str:
            return f"{self._mark}<{column}>"

        row = ChainRow(
            row_id=mark("row_ids"), request_id=mark("request_ids"), prev_hash=mark("prev_hashes"),
            event_hash=mark("event_hashes"), timestamp=mark("timestamps"), action=content.action, tool=content.tool,
            decision=content.decision, reason=mark(REASONS), agent_id=mark("agent_ids"), metadata=mark("metadata"),
            hash_version=content.hash_version, shard=content.shard,
        )  # fmt: skip
        found = self._marks.split(self._definition(row))
        pieces, columns = found[::2], tuple(name.decode() for name in found[1::2])
        for index, column in enumerate(columns):
            if column == REASONS:
                pieces[index] = pieces[index].removesuffix(b'"')
                pieces[index + 1] = pieces[index + 1].removeprefix(b'"')
        return _Cut(tuple(pieces), columns)
