"""The audit chain: what is hashed, how a chain is checked, and the lock that keeps it a chain.

Owns the canonical hash (version 2), the incremental verifier and the Redis lock of a tenant's chain.
It never reads or writes a row itself.

`event_hash = sha256_hex(utf8(prev_hash + json(fields)))`, with the JSON keys sorted, default
separators and ASCII escapes.  The fields are action, agent_id, decision, metadata_sha256, reason,
request_id, tenant_id, timestamp and tool, all strings, null as the empty string.  The timestamp that
is hashed is the timestamp that is stored.  Each tenant has one chain, which starts from 64 zeros.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID, uuid4

import redis

from infra.acp import faults

GENESIS: Final = "0" * 64
HASH_VERSION: Final = 2
CHAIN_SHARD: Final = 0
LOCK_PREFIX: Final = "acp:audit_chain_lock:"
LOCK_TTL_S: Final = 5.0
VIOLATIONS_KEPT: Final = 50

_ONE_MICROSECOND = timedelta(microseconds=1)
_HASHED_FIELDS = json.JSONEncoder(sort_keys=True)
_METADATA = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_timestamp(instant: datetime) -> str:
    """Spell an instant as it is hashed: ISO 8601, UTC, always six digits of a second."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def next_timestamp(previous: datetime | None, occurred_at: datetime) -> datetime:
    """Give the timestamp of a new row: its own, or the first instant after the row before it.

    So a tenant's rows have the same order by timestamp as by sequence, whatever the clocks of the gateway's
    processes say.  An instant with no fraction of a second is moved by 1 us: then every common way of
    printing it gives the same text, and an independent verifier cannot differ by formatting.
    """
    instant = occurred_at if previous is None or occurred_at > previous else previous + _ONE_MICROSECOND
    return instant + _ONE_MICROSECOND if instant.microsecond == 0 else instant


def canonical_metadata(metadata: Mapping[str, Any]) -> str:
    """Spell metadata as it is stored and hashed: keys sorted, compact, non-ASCII kept.

    Numbers are limited to those that a jsonb column gives back unchanged.

    Raises:
        ValueError: a number is not finite.
    """
    return _METADATA.encode(_storable(metadata))


def event_hash(
    *,
    prev_hash: str,
    tenant_id: str,
    agent_id: str,
    action: str,
    tool: str | None,
    decision: str,
    reason: str | None,
    request_id: str | None,
    timestamp: datetime,
    metadata_json: str,
) -> str:
    """Hash one row onto the one before it; `metadata_json` is the text of `canonical_metadata`."""
    fields = {
        "action": action,
        "agent_id": agent_id,
        "decision": decision,
        "metadata_sha256": sha256(metadata_json.encode()).hexdigest(),
        "reason": reason or "",
        "request_id": request_id or "",
        "tenant_id": tenant_id,
        "timestamp": canonical_timestamp(timestamp),
        "tool": tool or "",
    }
    return sha256((prev_hash + _HASHED_FIELDS.encode(fields)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainRow:
    """One stored row, as far as its hash and its place in the chain go.  Ids are canonical UUID texts."""

    tenant_id: str
    agent_id: str
    action: str
    tool: str | None
    decision: str
    reason: str | None
    request_id: str | None
    timestamp: datetime
    metadata: Mapping[str, Any] | None
    event_hash: str
    prev_hash: str
    chain_sequence: int = 0
    chain_shard: int = CHAIN_SHARD

    COLUMNS = (
        'tenant_id::text, agent_id::text, action, tool, decision, reason, request_id, "timestamp",'
        " metadata_json, event_hash, prev_hash, chain_sequence, chain_shard"
    )
    """The columns of `audit_logs` in the order of the arguments."""

    def recomputed_hash(self) -> str:
        """Hash the stored fields anew."""
        return event_hash(
            prev_hash=self.prev_hash,
            tenant_id=self.tenant_id,
            agent_id=self.agent_id,
            action=self.action,
            tool=self.tool,
            decision=self.decision,
            reason=self.reason,
            request_id=self.request_id,
            timestamp=self.timestamp,
            metadata_json=canonical_metadata(self.metadata or {}),
        )


@dataclass(slots=True)
class ChainVerifier:
    """Walks one tenant's chain in the order of `chain_sequence`, with memory independent of its length.

    It may start anywhere, given the head up to which the chain was verified before, and is told about every
    row after it.  A violation is a row whose `prev_hash` is not the hash of the row before it (`chain_gap`, or
    `fork` when both rows follow the same row), whose fields do not give its `event_hash` (`hash_tamper`), or
    whose timestamp is not later than the one before (`wrong_order`).

    Attributes:
        head: hash of the last row walked.
        processed_count: rows walked, those before the start included when given.
        error_count: violations found, of which the first `VIOLATIONS_KEPT` are in `violations`.
    """

    head: str = GENESIS
    processed_count: int = 0
    last_sequence: int = 0
    last_timestamp: datetime | None = None
    error_count: int = 0
    violations: list[dict[str, Any]] = field(default_factory=list)
    _prev_of_last: str | None = None

    @property
    def is_valid(self) -> bool:
        return self.error_count == 0

    def walk(self, row: ChainRow) -> None:
        """Check the next row and make it the head."""
        if row.prev_hash != self.head:
            is_fork = row.prev_hash == self._prev_of_last
            self._report(row, "fork" if is_fork else "chain_gap", "Chain gap detected")
        if row.recomputed_hash() != row.event_hash:
            self._report(row, "hash_tamper", "Audit tampering detected")
        if self.last_timestamp is not None and row.timestamp <= self.last_timestamp:
            self._report(row, "wrong_order", "Timestamp is not later than that of the row before")
        self._prev_of_last = row.prev_hash
        self.head = row.event_hash
        self.last_sequence = row.chain_sequence
        self.last_timestamp = row.timestamp
        self.processed_count += 1

    def _report(self, row: ChainRow, kind: str, error: str) -> None:
        self.error_count += 1
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(
                {
                    "request_id": row.request_id,
                    "shard": row.chain_shard,
                    "kind": kind,
                    "error": error,
                    "expected_prev": self.head,
                    "actual_prev": row.prev_hash,
                }
            )


class ChainLockLost(TimeoutError):
    """The chain lock expired or was taken over: what was written under it must not be committed."""


class ChainLockTimeout(TimeoutError):
    """The chain locks of a batch could not be had in time."""


_ACQUIRE = """
for _, key in ipairs(KEYS) do if redis.call('EXISTS', key) == 1 then return 0 end end
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1], 'PX', ARGV[2]) end
return 1
"""
_RENEW = """
for _, key in ipairs(KEYS) do if redis.call('GET', key) ~= ARGV[1] then return 0 end end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end
return 1
"""
_RELEASE = """
local released = 0
for _, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[1] then released = released + redis.call('DEL', key) end
end
return released
"""


class ChainLock:
    """The locks of several tenants' chains, had all together or not at all.

    All or nothing, so that two writers whose batches overlap cannot deadlock.  The value of each key is the
    owner's token, so nobody releases or renews a lock that has meanwhile become another's.  A writer calls
    `confirm` last before it commits; the database's own advisory lock, taken under this one, covers the
    instant between the two.

    Attributes:
        waited_s: how long `acquire` waited for other owners.
        is_skipped: the fault of that name lets the writer go on with neither this lock nor the database's.
    """

    def __init__(self, client: redis.Redis, tenant_ids: Sequence[str], ttl_s: float = LOCK_TTL_S) -> None:
        self.token = uuid4().hex
        self.waited_s = 0.0
        self.is_skipped = faults.hits("chain_lock_skipped", self.token)
        self._keys = [LOCK_PREFIX + tenant_id for tenant_id in sorted(tenant_ids)]
        self._ttl_ms = round(ttl_s * 1000)
        self._acquire = client.register_script(_ACQUIRE)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)

    def acquire(self, timeout_s: float = 2 * LOCK_TTL_S, poll_s: float = 0.01) -> None:
        """Take the locks, waiting for their present owners.

        Raises:
            ChainLockTimeout: one of them was held for `timeout_s` on end.
        """
        if self.is_skipped:
            return
        began = time.monotonic()
        while not self._acquire(self._keys, [self.token, self._ttl_ms]):
            self.waited_s = time.monotonic() - began
            if self.waited_s > timeout_s:
                raise ChainLockTimeout(
                    f"chain locks of {len(self._keys)} tenants not had in {self.waited_s:.1f} s, limit"
                    f" {timeout_s:.1f} s; their TTL is {self._ttl_ms} ms, so look for a writer that renews without end"
                )
            time.sleep(poll_s)

    def confirm(self) -> None:
        """Make sure that every lock is still ours, and ours for another TTL.

        Raises:
            ChainLockLost: at least one is not.
        """
        if not self.is_skipped and not self._renew(self._keys, [self.token, self._ttl_ms]):
            raise ChainLockLost(f"a chain lock was lost before commit; its TTL is {self._ttl_ms} ms")

    def release(self) -> None:
        """Give back those locks that are still ours."""
        self._release([key for key in self._keys if not self._is_kept(key)], [self.token])

    def _is_kept(self, key: str) -> bool:
        return faults.hits("chain_lock_never_released", self.token, key.removeprefix(LOCK_PREFIX))


def advisory_key(tenant_id: str) -> int:
    """Give the key of a tenant's advisory lock in PostgreSQL: a signed 64-bit integer."""
    number = UUID(tenant_id).int
    folded = (number >> 64) ^ (number & 0xFFFF_FFFF_FFFF_FFFF)
    return folded - (1 << 64) if folded >= 1 << 63 else folded


def _storable(value: Any) -> Any:
    """Turn the numbers that jsonb would spell differently into those it gives back."""
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"metadata holds the number {value}, which JSON does not have")
        return int(value) if abs(value) >= 1e16 else value + 0.0
    if isinstance(value, Mapping):
        return {name: _storable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
