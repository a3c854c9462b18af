"""Verifies a tenant's audit chain from its rows, without the platform's help.

Owns the hash of a row (versions 1 and 2) and what is a gap, a fork, tampering and wrong order. Pure: rows come as an
iterable, in the order in which they were appended, and memory does not grow with their number.

`event_hash = sha256_hex(prev_hash + json(fields))`, keys sorted, default separators, ASCII escapes, null as the empty
text. Version 2 adds the reason, the timestamp and the SHA-256 of the metadata in compact sorted JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

import msgspec

GENESIS = "0" * 64
MOST_SUSPECTS = 10_000
MOST_SAMPLES = 20
_NO_METADATA = sha256(b"{}").hexdigest()
_DECODE = msgspec.json.Decoder().decode
_ENCODE = msgspec.json.Encoder(order="sorted").encode
_EXACT_METADATA = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class ChainRow(NamedTuple):
    """One audit row as text; None is null.

    Attributes:
        row_id, request_id, agent_id: UUID texts; a request id may be any text.
        prev_hash, event_hash: hex.
        timestamp: ISO 8601 in UTC with six digits of a second and `+00:00`, so that texts sort like times.
        action, tool, decision, reason: as stored.
        metadata: JSON text, in any spelling.
        hash_version: `2`; `1` or None for the older hash.
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


class _Head:
    """The last row of one shard's chain."""

    __slots__ = ("event_hash", "timestamp")

    def __init__(self) -> None:
        self.event_hash = GENESIS
        self.timestamp = ""


class ChainVerifier:
    """Takes one tenant's rows one by one.

    Attributes:
        rows, tampered, gaps, out_of_order: counts so far, as in `IndependentChain`.
        suspects: previous hashes that a gap row names: those of a fork are among them.
        samples: the first few violations in words.
    """

    def __init__(self, tenant_id: str) -> None:
        self.rows = 0
        self.tampered = 0
        self.gaps = 0
        self.out_of_order = 0
        self.suspects: set[str] = set()
        self.samples: list[str] = []
        self._tenant = quoted(tenant_id)
        self._heads: dict[str | None, _Head] = {}

    def check(self, row: ChainRow) -> None:
        """Checks the next row against its content and against the row before it in its shard."""
        self.rows += 1
        head = self._heads.get(row[12])
        if head is None:
            head = self._heads[row[12]] = _Head()
        if row[2] != head.event_hash:
            self.gaps += 1
            if len(self.suspects) < MOST_SUSPECTS:
                self.suspects.add(row[2])
            self._sample(row, f"names {row[2][:12]} as the hash before it, the row before has {head.event_hash[:12]}")
        if not self._is_hash_right(row):
            self.tampered += 1
            self._sample(row, f"its content does not give its hash {row[3][:12]}")
        if row[4] < head.timestamp:
            self.out_of_order += 1
            self._sample(row, f"its timestamp {row[4]} is before {head.timestamp} of the row before")
        head.event_hash = row[3]
        head.timestamp = row[4]

    def _is_hash_right(self, row: ChainRow) -> bool:
        (
            _,
            request_id,
            prev_hash,
            event_hash,
            timestamp,
            action,
            tool,
            decision,
            reason,
            agent_id,
            metadata,
            version,
            _,
        ) = row
        if version != "2":
            fields = (
                f'{{"action": {_quoted(action)}, "agent_id": {quoted(agent_id)}, "decision": {_quoted(decision)}, '
                f'"request_id": {quoted(request_id or "")}, "tenant_id": {self._tenant}, "tool": {_quoted(tool)}}}'
            )
            return sha256((prev_hash + fields).encode()).hexdigest() == event_hash
        before = (
            f'{prev_hash}{{"action": {_quoted(action)}, "agent_id": {quoted(agent_id)}, '
            f'"decision": {_quoted(decision)}, "metadata_sha256": "'
        )
        after = (
            f'", "reason": {_quoted(reason)}, "request_id": {quoted(request_id or "")}, "tenant_id": {self._tenant}, '
            f'"timestamp": "{timestamp}", "tool": {_quoted(tool)}}}'
        )
        if sha256((before + _quick_metadata_sha256(metadata) + after).encode()).hexdigest() == event_hash:
            return True
        # The quick encoder spells some numbers differently; only the exact spelling can prove tampering.
        return sha256((before + _metadata_sha256(metadata) + after).encode()).hexdigest() == event_hash

    def _sample(self, row: ChainRow, what: str) -> None:
        if len(self.samples) < MOST_SAMPLES:
            self.samples.append(f"row {self.rows} (request {row[1]}): {what}")


def forks_among(suspects: Iterable[str], namings: Iterable[str]) -> int:
    """How many of the suspected previous hashes more than one row names.

    Args:
        suspects: `ChainVerifier.suspects`.
        namings: the previous hash of every row of the tenant, or of at least those rows that name a suspect.
    """
    wanted = set(suspects)
    counts = Counter(prev_hash for prev_hash in namings if prev_hash in wanted)
    return sum(1 for count in counts.values() if count > 1)


@lru_cache(maxsize=4096)
def _quoted(text: str | None) -> str:
    """A JSON text of a value that repeats; null is the empty text."""
    return quoted(text or "")


def _quick_metadata_sha256(metadata: str | None) -> str:
    if not metadata or metadata == "{}":
        return _NO_METADATA
    try:
        return sha256(_ENCODE(_DECODE(metadata))).hexdigest()
    except (msgspec.MsgspecError, ValueError):
        return ""


def _metadata_sha256(metadata: str | None) -> str:
    try:
        value = json.loads(metadata or "{}") or {}
        return sha256(_EXACT_METADATA.encode(value).encode()).hexdigest()
    except ValueError:
        return ""
