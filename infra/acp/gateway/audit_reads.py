"""The handlers that read the audit chain: pages, search, summary, verification and export.

Owns their SQL. Nothing here counts all rows of a tenant: totals come from the writer's counters or from `rollup.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import asyncpg
import msgspec

from infra.acp import clock
from infra.acp.gateway.http import (
    NDJSON_CONTENT,
    Refusal,
    Request,
    Response,
    encode_json,
    enveloped,
    parse_instant,
    parse_uuid,
)
from infra.acp.gateway.rollup import Rollups, summary_of
from infra.acp.gateway.services import Services
from infra.acp.gateway.verify import Verifiers

COLUMNS = (
    "id::text, tenant_id::text, agent_id::text, action, tool, decision, reason, metadata_json::text, request_id,"
    ' event_hash, prev_hash, chain_sequence, "timestamp"'
)
EXPORT_COLUMNS = (
    'id::text, tenant_id::text, agent_id::text, "timestamp", action, tool, decision, reason, request_id, event_hash,'
    " prev_hash, hash_version, chain_shard, chain_sequence, billing_status, metadata_json::text"
)
EXPORT_CHUNK_ROWS = 500
#: Totals of searches within a span of time are counted up to here.
COUNTED_UP_TO = 10_000
SUMMARY_KEPT_FOR_S = 30

_counters = (
    "SELECT coalesce(sum(row_count), 0)::bigint FROM audit_hourly_counters"
    " WHERE tenant_id = $1 AND ($2::text IS NULL OR action = $2) AND ($3::text IS NULL OR decision = $3)"
)


class Search(msgspec.Struct):
    """Body of POST /audit/logs/search; what is left out does not matter."""

    agent_id: str | None = None
    action: str | None = None
    tool: str | None = None
    decision: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    metadata_filter: dict[str, Any] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    offset: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0


class AuditReads:
    """The audit reads of one worker, with what they remember between calls."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rollups = Rollups(services.pools["audit"])
        self._verifiers = Verifiers(services.pools["audit"], services.link)

    async def keep_up(self) -> None:
        """Verify what is appended, for as long as the worker lives."""
        await self._verifiers.keep_up()

    async def logs(self, services: Services, request: Request) -> Response:
        """GET /audit/logs, newest first, filtered by agent_id, action and decision."""
        if request.query.get("tenant_id", request.tenant_id) != request.tenant_id:
            raise Refusal(400, "tenant_id names another tenant")
        search = Search(
            agent_id=request.uuid("agent_id"),
            action=request.query.get("action"),
            decision=request.query.get("decision"),
        )
        return await self._page(
            request.tenant_id, search, request.integer("limit", 50, 1, 500), request.integer("offset", 0, 0, 100_000)
        )

    async def search(self, services: Services, request: Request) -> Response:
        """POST /audit/logs/search."""
        search = request.json_as(Search)
        if search.agent_id is not None:
            search.agent_id = parse_uuid(search.agent_id, "agent_id")
        return await self._page(request.tenant_id, search, search.limit, search.offset)

    async def summary(self, services: Services, request: Request) -> Response:
        """GET /audit/logs/summary; at most SUMMARY_KEPT_FOR_S old, the same from every worker."""
        key = f"acp:audit_summary:{request.tenant_id}:_"
        kept = await services.link.execute("GET", key)
        if kept is not None:
            return Response(200, kept)
        rollup = await self._rollups.current(request.tenant_id)
        hours = await services.pools["audit"].fetch(
            "SELECT hour, sum(row_count)::bigint AS row_count FROM audit_hourly_counters"
            " WHERE tenant_id = $1 AND hour > now() - interval '24 hours' GROUP BY hour ORDER BY hour",
            request.tenant_id,
        )
        by_hour = [{"hour": row["hour"], "count": row["row_count"]} for row in hours]
        response = enveloped(summary_of(rollup) | {"requests_by_hour": by_hour, "metadata": {"as_of": clock.utc_now()}})
        await services.link.execute("SET", key, response.body, "EX", SUMMARY_KEPT_FOR_S)
        return response

    async def verify(self, services: Services, request: Request) -> Response:
        """GET /audit/logs/verify: the chain up to its present head; `?full=true` recomputes it from the genesis."""
        is_full = request.query.get("full", "").lower() in ("1", "true", "yes")
        return enveloped(await self._verifiers.verify(request.tenant_id, from_genesis=is_full))

    async def export(self, services: Services, request: Request) -> Response:
        """GET /audit/export: NDJSON, newest first, or in the order of the chain with `after_sequence`."""
        limit = request.integer("limit", 10_000, 1, 100_000)
        after = request.query.get("after_sequence")
        conditions = ["tenant_id = $1"]
        values: list[Any] = [request.tenant_id]
        for condition, value in (
            ('"timestamp" >= {}', request.instant("since")),
            ('"timestamp" < {}', request.instant("until")),
            ("agent_id = {}", request.uuid("agent_id")),
            (
                "chain_shard = {}",
                request.integer("chain_shard", 0, 0, 32_767) if "chain_shard" in request.query else None,
            ),
        ):
            if value is not None:
                values.append(value)
                conditions.append(condition.format(f"${len(values)}"))
        position = request.integer("after_sequence", 0, 0, 2**62) if after is not None else None
        stream = _exported(services.pools["audit"], conditions, values, limit, position)
        return Response(200, headers=((b"x-acp-chain-format", b"ndjson-v1"),), content=NDJSON_CONTENT, stream=stream)

    async def _page(self, tenant_id: str, search: Search, limit: int, offset: int) -> Response:
        conditions, values = _conditions(tenant_id, search)
        total = await self._total(tenant_id, search, conditions, values)
        items: list[dict[str, Any]] = []
        if total > offset:
            rows = await self._services.pools["audit"].fetch(
                f"SELECT {COLUMNS} FROM audit_logs WHERE {conditions} ORDER BY chain_sequence DESC"
                f" LIMIT {limit} OFFSET {offset}",
                *values,
            )
            items = [{**row, "metadata_json": msgspec.Raw(row["metadata_json"].encode())} for row in rows]
        return enveloped({"total": total, "limit": limit, "offset": offset, "items": items})

    async def _total(self, tenant_id: str, search: Search, conditions: str, values: list[Any]) -> int:
        """Rows that a search finds: exact, except that one by time or metadata counts to COUNTED_UP_TO at most."""
        pool = self._services.pools["audit"]
        if search.start_date or search.end_date or search.metadata_filter:
            statement = (
                f"SELECT count(*) FROM (SELECT 1 FROM audit_logs WHERE {conditions} LIMIT {COUNTED_UP_TO}) AS found"
            )
            return int(await pool.fetchval(statement, *values))
        if search.agent_id or search.tool:
            rollup = await self._rollups.current(tenant_id)
            return rollup.count(
                agent_id=search.agent_id, tool=search.tool, action=search.action, decision=search.decision
            )
        if search.action or search.decision:
            return int(await pool.fetchval(_counters, tenant_id, search.action, search.decision))
        return int(await pool.fetchval("SELECT row_count FROM audit_counters WHERE tenant_id = $1", tenant_id) or 0)


def _conditions(tenant_id: str, search: Search) -> tuple[str, list[Any]]:
    """The WHERE clause of a search, and its values."""
    clauses = ["tenant_id = $1"]
    values: list[Any] = [tenant_id]
    start = parse_instant(search.start_date, "start_date") if search.start_date else None
    end = parse_instant(search.end_date, "end_date") if search.end_date else None
    metadata = encode_json(search.metadata_filter).decode() if search.metadata_filter else None
    for clause, value in (
        ("agent_id = {}", search.agent_id),
        ("action = {}", search.action),
        ("tool = {}", search.tool),
        ("decision = {}", search.decision),
        ('"timestamp" >= {}', start),
        ('"timestamp" < {}', end),
        ("metadata_json @> {}::text::jsonb", metadata),
    ):
        if value is not None:
            values.append(value)
            clauses.append(clause.format(f"${len(values)}"))
    return " AND ".join(clauses), values


async def _exported(
    pool: asyncpg.Pool, conditions: list[str], values: list[Any], limit: int, after_sequence: int | None
) -> AsyncIterator[bytes]:
    """Lines of the export, a page of rows at a time, so that memory does not depend on the limit."""
    forwards = after_sequence is not None
    position = after_sequence if after_sequence is not None else 2**62
    bound, order = (">", "ASC") if forwards else ("<", "DESC")
    values = [*values, position]
    left = limit
    where = f"{' AND '.join(conditions)} AND chain_sequence {bound} ${len(values)}"
    while left > 0:
        page = min(left, EXPORT_CHUNK_ROWS)
        rows = await pool.fetch(
            f"SELECT {EXPORT_COLUMNS} FROM audit_logs WHERE {where} ORDER BY chain_sequence {order} LIMIT {page}",
            *values,
        )
        if rows:
            yield b"".join(encode_json(_export_item(row)) + b"\n" for row in rows)
            values[-1] = rows[-1]["chain_sequence"]
        if len(rows) < page:
            return
        left -= page


def _export_item(row: asyncpg.Record) -> dict[str, Any]:
    item = dict(row)
    item["metadata"] = msgspec.Raw(item.pop("metadata_json").encode())
    return item
