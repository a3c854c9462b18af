"""Verification of a tenant's chain by the platform itself, at a cost that does not grow with the chain.

Owns how far a chain has been verified. The verified position is kept in Redis, where all workers share it, and only
the rows after it are hashed anew; what was found wrong once stays reported, until the chain is recomputed from its
genesis and found intact. The workers also keep up with all chains unasked, so that the first call after hours of
executions does not pay for all of them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from infra.acp.chain import GENESIS, VIOLATIONS_KEPT, ChainRow, ChainVerifier
from infra.acp.gateway.redis_link import RedisLink

logger = logging.getLogger(__name__)

#: Rows hashed between two turns of the event loop: about a millisecond.
ROWS_PER_TURN = 64
ROWS_PER_QUERY = 2_000
KEEP_UP_INTERVAL_S = 5.0

_HEADS = "SELECT tenant_id::text, last_sequence FROM audit_counters"

_ROWS = (
    'SELECT tenant_id::text, agent_id::text, action, tool, decision, reason, request_id, "timestamp",'
    " metadata_json::text AS metadata, event_hash, prev_hash, chain_sequence, chain_shard"
    " FROM audit_logs WHERE tenant_id = $1 AND chain_sequence > $2 ORDER BY chain_sequence LIMIT $3"
)

#: Moves the verified position forwards only, whichever worker is quicker.
_ADVANCE = """
local known = redis.call('HGET', KEYS[1], 'sequence')
if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'sequence', ARGV[1], 'position', ARGV[2])
return 1
"""


class Position(msgspec.Struct):
    """Up to where a chain has been verified, and what was wrong with it until there."""

    head: str = GENESIS
    sequence: int = 0
    row_count: int = 0
    last_timestamp: datetime | None = None
    error_count: int = 0
    violations: list[dict[str, Any]] = []


class Verifiers:
    """The verifications of one worker: one at a time for each tenant, shared by those who asked before it began."""

    def __init__(self, pool: asyncpg.Pool, link: RedisLink) -> None:
        self._pool = pool
        self._link = link
        self._running: dict[tuple[str, bool], asyncio.Task[dict[str, Any]]] = {}
        self._next: dict[tuple[str, bool], asyncio.Task[dict[str, Any]]] = {}

    async def verify(self, tenant_id: str, *, from_genesis: bool) -> dict[str, Any]:
        """Verify every row committed before this call.

        Returns:
            tenant_id, valid, is_integrous (the same), processed_count (rows from the genesis on), error_count and
            violations (the first few of them).
        """
        key = (tenant_id, from_genesis)
        if key not in self._running:
            return await asyncio.shield(self._start(key))
        if key not in self._next:
            self._next[key] = asyncio.create_task(self._after(key, self._running[key]))
        return await asyncio.shield(self._next[key])

    async def keep_up(self, interval_s: float = KEEP_UP_INTERVAL_S) -> None:
        """Verify now and again what all tenants have appended; ends only when it is cancelled."""
        verified: dict[str, int] = {}
        while True:
            # Workers that take turns find most of the work done.
            await asyncio.sleep(interval_s * random.uniform(0.5, 1.5))
            try:
                for tenant_id, head in await self._pool.fetch(_HEADS):
                    if verified.get(tenant_id) != head:
                        await self.verify(tenant_id, from_genesis=False)
                        verified[tenant_id] = head
            except Exception as error:
                # Most likely a store that restarts; whoever asks for a verification is told.
                logger.warning("chains are not verified: %s: %s", type(error).__name__, error)

    def _start(self, key: tuple[str, bool]) -> asyncio.Task[dict[str, Any]]:
        task = self._running[key] = asyncio.create_task(self._verify_now(*key))
        task.add_done_callback(lambda done: self._ended(key, done))
        return task

    def _ended(self, key: tuple[str, bool], task: asyncio.Task[dict[str, Any]]) -> None:
        if self._running.get(key) is task:
            del self._running[key]

    async def _after(self, key: tuple[str, bool], running: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
        """The run that begins when the present one has ended."""
        await asyncio.wait([running])
        del self._next[key]
        return await (self._running.get(key) or self._start(key))

    async def _verify_now(self, tenant_id: str, from_genesis: bool) -> dict[str, Any]:
        key = f"acp:audit_verify_checkpoint:{tenant_id}"
        kept = None if from_genesis else await self._link.execute("HGET", key, "position")
        start = msgspec.json.decode(kept, type=Position) if kept else Position()
        verifier = ChainVerifier(
            head=start.head,
            processed_count=start.row_count,
            last_sequence=start.sequence,
            last_timestamp=start.last_timestamp,
            error_count=start.error_count,
            violations=list(start.violations),
        )
        async for row in self._rows_after(tenant_id, start.sequence):
            verifier.walk(row)
        if verifier.last_sequence > start.sequence or from_genesis:
            await self._keep(key, verifier, replace=from_genesis)
        return {
            "tenant_id": tenant_id,
            "valid": verifier.is_valid,
            "is_integrous": verifier.is_valid,
            "processed_count": verifier.processed_count,
            "error_count": verifier.error_count,
            "violations": verifier.violations,
        }

    async def _rows_after(self, tenant_id: str, sequence: int) -> AsyncIterator[ChainRow]:
        while True:
            rows = await self._pool.fetch(_ROWS, tenant_id, sequence, ROWS_PER_QUERY)
            for number, row in enumerate(rows, start=1):
                yield _chain_row(row)
                if number % ROWS_PER_TURN == 0:
                    await asyncio.sleep(0)
            if len(rows) < ROWS_PER_QUERY:
                return
            sequence = rows[-1]["chain_sequence"]

    async def _keep(self, key: str, verifier: ChainVerifier, *, replace: bool) -> None:
        position = Position(
            head=verifier.head,
            sequence=verifier.last_sequence,
            row_count=verifier.processed_count,
            last_timestamp=verifier.last_timestamp,
            error_count=verifier.error_count,
            violations=verifier.violations[:VIOLATIONS_KEPT],
        )
        text = msgspec.json.encode(position)
        if replace:
            await self._link.execute("HSET", key, "sequence", position.sequence, "position", text)
        else:
            await self._link.execute("EVAL", _ADVANCE, 1, key, position.sequence, text)


def _chain_row(row: asyncpg.Record) -> ChainRow:
    return ChainRow(**{**row, "metadata": msgspec.json.decode(row["metadata"])})
