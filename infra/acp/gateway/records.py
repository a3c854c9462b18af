"""The handlers that read what the other workers wrote: usage, timelines, roots and the graph.

Owns their SQL. Each reads a bounded number of rows along an index.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date
from typing import Any

import msgspec

from infra.acp import clock, events
from infra.acp.gateway.http import Refusal, Request, Response, enveloped, parse_uuid, validation_failed
from infra.acp.gateway.services import Services
from infra.acp.signing import ALGORITHM, errors_of

TIMELINE_COLUMNS = (
    "id::text, tenant_id::text, request_id, session_id, agent_id::text, tool, started_at, completed_at, duration_ms,"
    " final_decision, final_risk, status, metadata_json::text"
)
NODE_COLUMNS = (
    "id::text, node_type, external_id, name, attributes::text, trust_score, drift_score, created_at, updated_at"
)
COSTS_OVER_ROWS = 10_000
#: How long POST /transparency/compute waits for the sealer's pass.
SEAL_WAIT_S = 8.0
SEAL_POLL_S = 0.05


async def usage_summary(services: Services, request: Request) -> Response:
    """GET /usage/summary: the tenant's units and cost since its beginning."""
    pool = services.pools["usage"]
    row = await pool.fetchrow(
        "SELECT record_count, total_units, total_cost FROM usage_counters WHERE tenant_id = $1", request.tenant_id
    )
    prevented = await services.pools["audit"].fetchval(
        "SELECT coalesce(sum(row_count), 0)::bigint FROM audit_hourly_counters"
        " WHERE tenant_id = $1 AND decision IN ('block', 'deny')",
        request.tenant_id,
    )
    return enveloped(
        {
            "tenant_id": request.tenant_id,
            "total_units": row["total_units"] if row else 0,
            "total_cost": row["total_cost"] if row else 0.0,
            "record_count": row["record_count"] if row else 0,
            "money_saved": 0.0,
            "cost_prevented": round(prevented * 0.001, 6),
        }
    )


async def usage_dashboard(services: Services, request: Request) -> Response:
    """GET /usage/dashboard: the newest costs by agent and tool, and the state of billing."""
    rows = await services.pools["usage"].fetch(
        "SELECT agent_id::text, tool, sum(units)::bigint AS units, sum(cost) AS cost FROM"
        f' (SELECT agent_id, tool, units, cost FROM usage_records WHERE tenant_id = $1 ORDER BY "timestamp" DESC'
        f" LIMIT {COSTS_OVER_ROWS}) AS newest GROUP BY agent_id, tool",
        request.tenant_id,
    )
    pending, failed, retrying = await services.pools["audit"].fetchrow(
        "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'failed'),"
        " count(*) FILTER (WHERE status = 'pending' AND retry_count > 0)"
        " FROM pending_usage_events WHERE tenant_id = $1",
        request.tenant_id,
    )
    dead_letters = int(await services.link.execute("LLEN", events.BILLING_DLQ))
    by_agent, by_tool = _sums(rows, "agent_id"), _sums(rows, "tool")
    return enveloped(
        {
            "cost_per_agent": by_agent,
            "cost_per_tool": by_tool,
            "window_records": COSTS_OVER_ROWS,
            "pending_events": pending,
            "unbilled_events_sla": failed,
            "retry_queue_size": retrying,
            "dlq_size": dead_letters,
            "billing_integrity_score": 1.0 if failed == 0 else 0.0,
        }
    )


async def timelines(services: Services, request: Request) -> Response:
    """GET /flight/timelines, newest first, of the last `minutes`."""
    conditions, values = (
        ["tenant_id = $1", "started_at > now() - make_interval(mins => $2)"],
        [
            request.tenant_id,
            request.integer("minutes", 1440, 1, 43_200),
        ],
    )
    for name, value in (
        ("agent_id", request.uuid("agent_id")),
        ("tool", request.query.get("tool")),
        ("status", request.query.get("status")),
    ):
        if value is not None:
            values.append(value)
            conditions.append(f"{name} = ${len(values)}")
    rows = await services.pools["flight"].fetch(
        f"SELECT {TIMELINE_COLUMNS} FROM execution_timelines WHERE {' AND '.join(conditions)}"
        f" ORDER BY started_at DESC LIMIT {request.integer('limit', 100, 1, 500)}",
        *values,
    )
    return enveloped([_with_json(row, "metadata_json") for row in rows])


async def timeline_by_request(services: Services, request: Request) -> Response:
    """GET /flight/timeline/by-request/{request}: one timeline and its steps."""
    pool = services.pools["flight"]
    row = await pool.fetchrow(
        f"SELECT {TIMELINE_COLUMNS} FROM execution_timelines WHERE tenant_id = $1 AND request_id = $2",
        request.tenant_id,
        request.params[0],
    )
    if row is None:
        raise Refusal(404, "Timeline not found")
    steps = await pool.fetch(
        "SELECT step_index, step_type, status, latency_ms, risk_score, summary, payload::text, occurred_at"
        " FROM execution_steps WHERE timeline_id = $1 ORDER BY step_index",
        row["id"],
    )
    return enveloped(
        {
            "timeline": _with_json(row, "metadata_json"),
            "steps": [_with_json(step, "payload") for step in steps],
            "snapshots": [],
            "artifacts": [],
        }
    )


async def graph_agents(services: Services, request: Request) -> Response:
    """GET /graph/agents: the tenant's nodes of agents, by name."""
    rows = await services.pools["graph"].fetch(
        f"SELECT {NODE_COLUMNS} FROM graph_nodes WHERE tenant_id = $1 AND node_type = 'agent'"
        " ORDER BY name, id LIMIT $2",
        request.tenant_id,
        request.integer("limit", 1000, 1, 1000),
    )
    return enveloped([_with_json(row, "attributes") for row in rows])


async def graph_agent(services: Services, request: Request) -> Response:
    """GET /graph/agent/{agent}: an agent's node and its newest edges."""
    agent_id = parse_uuid(request.params[0], "agent id", status=404)
    pool = services.pools["graph"]
    node = await pool.fetchrow(
        f"SELECT {NODE_COLUMNS} FROM graph_nodes WHERE tenant_id = $1 AND node_type = 'agent' AND external_id = $2",
        request.tenant_id,
        agent_id,
    )
    if node is None:
        raise Refusal(404, "Agent has no node in the graph")
    edges = await pool.fetch(
        "SELECT e.id, e.edge_type, e.action, e.outcome, e.risk_score, e.request_id::text, e.occurred_at,"
        " t.external_id AS tool FROM graph_edges e JOIN graph_nodes t ON t.id = e.dst_node_id"
        " WHERE e.src_node_id = $1 ORDER BY e.id DESC LIMIT $2",
        node["id"],
        request.integer("limit", 100, 1, 500),
    )
    return enveloped({"node": _with_json(node, "attributes"), "edges": [dict(edge) for edge in edges]})


async def roots(services: Services, request: Request) -> Response:
    """GET /transparency/roots, newest day first."""
    if services.switches.transparency_tenant == "nil":
        return enveloped([])
    conditions = ["tenant_id = $1"]
    values: list[Any] = [request.tenant_id]
    for name, condition in (("since", "root_date >= {}"), ("until", "root_date <= {}")):
        if name in request.query:
            values.append(_date(request.query[name], name))
            conditions.append(condition.format(f"${len(values)}"))
    rows = await services.pools["audit"].fetch(
        "SELECT root_date, root_hash, prev_root_hash, leaf_count, window_end, computed_at,"
        " signed_root_payload::text AS signed"
        f" FROM transparency_roots WHERE {' AND '.join(conditions)} ORDER BY root_date DESC"
        f" LIMIT {request.integer('limit', 90, 1, 365)}",
        *values,
    )
    return enveloped([_with_json(row, "signed") for row in rows])


async def compute_root(services: Services, request: Request) -> Response:
    """POST /transparency/compute: have the sealer pass now, and wait until the root covers what is there."""
    root_date = (
        _date(request.query["root_date"], "root_date") if "root_date" in request.query else clock.utc_now().date()
    )
    pool = services.pools["audit"]
    last = await pool.fetchval("SELECT last_timestamp FROM audit_counters WHERE tenant_id = $1", request.tenant_id)
    await services.link.execute("LPUSH", events.SEAL_REQUESTS, request.tenant_id)
    deadline = time.monotonic() + SEAL_WAIT_S
    while True:
        row = await pool.fetchrow(
            "SELECT root_date, root_hash, prev_root_hash, leaf_count, leaf_range_start_id::text,"
            " leaf_range_end_id::text, window_end, signing_key_fingerprint,"
            " signed_root_payload::text AS signed FROM transparency_roots"
            " WHERE tenant_id = $1 AND root_date = $2",
            request.tenant_id,
            root_date,
        )
        covers = row is not None and (
            last is None or last.astimezone(UTC).date() != root_date or row["window_end"] >= last
        )
        if covers and row is not None:
            return enveloped(_with_json(row, "signed"))
        if last is None or last.astimezone(UTC).date() < root_date:
            raise Refusal(404, f"The tenant has no audit rows on {root_date}")
        if time.monotonic() > deadline:
            raise Refusal(
                503, f"The sealer has not answered within {SEAL_WAIT_S:.0f} s", headers=((b"retry-after", b"5"),)
            )
        await asyncio.sleep(SEAL_POLL_S)


async def transparency_key(services: Services, request: Request) -> Response:
    """GET /transparency/key: the public key that roots are signed with."""
    signer = services.signer
    return enveloped(
        {
            "algorithm": ALGORITHM,
            "public_key_pem": signer.public_key_pem,
            "fingerprint": signer.fingerprint,
            "public_key_fingerprint": signer.fingerprint,
        }
    )


async def verify_root(services: Services, request: Request) -> Response:
    """POST /transparency/verify-root: a signed root, or `{"date"}` for the caller's own of that day."""
    signer = services.signer
    body = request.json_object()
    signed: Any = body.get("signed", body)
    if set(body) == {"date"}:
        signed = await _stored_root(services, request.tenant_id, _date(str(body["date"]), "date"))
    errors = errors_of(signed, signer.public_key_pem)
    if "malformed_payload" in errors:
        raise Refusal(400, "malformed_payload")
    if not errors:
        receipt = signed["receipt"]
        if receipt.get("tenant_id") != request.tenant_id:
            raise Refusal(403, "cross_tenant_receipt")
        errors = await _disagreement(services, receipt)
    return enveloped(
        {"valid": not errors, "algorithm": ALGORITHM, "expected_fingerprint": signer.fingerprint, "errors": errors}
    )


async def _stored_root(services: Services, tenant_id: str, root_date: date) -> Any:
    text = await services.pools["audit"].fetchval(
        "SELECT signed_root_payload::text FROM transparency_roots WHERE tenant_id = $1 AND root_date = $2",
        tenant_id,
        root_date,
    )
    if text is None:
        raise Refusal(404, f"No root of {root_date}")
    return msgspec.json.decode(text)


async def _disagreement(services: Services, receipt: dict[str, Any]) -> list[str]:
    """A genuine receipt of the same extent must carry the root that is stored; an older one cannot be compared."""
    stored = await services.pools["audit"].fetchrow(
        "SELECT root_hash, leaf_count FROM transparency_roots WHERE tenant_id = $1 AND root_date = $2",
        parse_uuid(str(receipt.get("tenant_id")), "tenant_id", status=400),
        _date(str(receipt.get("root_date")), "root_date"),
    )
    same_extent = stored is not None and stored["leaf_count"] == receipt.get("leaf_count")
    return ["root_hash_mismatch"] if same_extent and stored["root_hash"] != receipt.get("root_hash") else []


def _sums(rows: list[Any], name: str) -> list[dict[str, Any]]:
    sums: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = sums.setdefault(str(row[name]), {name: row[name], "units": 0, "cost": 0.0})
        entry["units"] += row["units"]
        entry["cost"] += row["cost"]
    return sorted(sums.values(), key=lambda entry: -entry["cost"])


def _with_json(row: Any, name: str) -> dict[str, Any]:
    """A row with one of its columns, JSON as text, put in as JSON."""
    return {**row, name: msgspec.Raw(row[name].encode())}


def _date(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise validation_failed(f"{name} is {text[:40]!r}, must be a date YYYY-MM-DD") from None
