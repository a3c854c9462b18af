"""The identity graph: one node per agent and per tool, one edge per call.

Owns `graph_nodes` and `graph_edges`.  It keeps nothing in memory: edges find their nodes in the database, so a
node that was removed is made again by the next call.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import msgspec

from infra.acp import faults
from infra.acp.events import GRAPH_DLQ, GRAPH_GROUP, GRAPH_STREAM, GraphEvent, decode_graph
from infra.acp.settings import Settings
from infra.acp.workers.runtime import Database, redis_client, serve
from infra.acp.workers.stream import Stream, StreamCollector, StreamReader, StreamWorker

logger = logging.getLogger(__name__)

STREAM: Final = Stream(GRAPH_STREAM, GRAPH_GROUP, GRAPH_DLQ)
BATCH: Final = 1_000
LINGER_S: Final = 0.5

_UPSERT_NODES = """
    INSERT INTO graph_nodes AS node (id, org_id, tenant_id, node_type, external_id, name)
    SELECT gen_random_uuid(), * FROM unnest(%s::uuid[], %s::uuid[], %s::varchar[], %s::varchar[], %s::varchar[])
    ON CONFLICT (tenant_id, node_type, external_id) DO UPDATE SET name = excluded.name, updated_at = now()
    WHERE node.name <> excluded.name
"""
_INSERT_EDGES = """
    INSERT INTO graph_edges (
        org_id, tenant_id, src_node_id, dst_node_id, edge_type, action, outcome, risk_score, request_id, occurred_at)
    SELECT edge.org_id, edge.tenant_id, agent.id, tool.id, edge.edge_type, edge.action, edge.outcome, edge.risk_score,
           edge.request_id, edge.occurred_at
    FROM unnest(
        %s::uuid[], %s::uuid[], %s::varchar[], %s::varchar[], %s::varchar[], %s::varchar[], %s::varchar[],
        %s::float8[], %s::uuid[], %s::timestamptz[]
    ) AS edge (org_id, tenant_id, agent_id, tool, edge_type, action, outcome, risk_score, request_id, occurred_at)
    JOIN graph_nodes AS agent
        ON agent.tenant_id = edge.tenant_id AND agent.node_type = 'agent' AND agent.external_id = edge.agent_id
    JOIN graph_nodes AS tool
        ON tool.tenant_id = edge.tenant_id AND tool.node_type = 'tool' AND tool.external_id = edge.tool
    ON CONFLICT (tenant_id, request_id) DO NOTHING
"""


def nodes_of(events: list[GraphEvent]) -> list[tuple[str, str, str, str, str]]:
    """Give the distinct nodes of a batch as (org, tenant, type, external id, name), in one order for all writers."""
    names: dict[tuple[str, str, str, str], str] = {}
    for event in events:
        org_id = event.org_id or event.tenant_id
        names[(org_id, event.tenant_id, "agent", event.agent_id)] = event.agent_name or event.agent_id
        names[(org_id, event.tenant_id, "tool", event.tool)] = event.tool
    return [(*key, names[key]) for key in sorted(names)]


def _as_spelled(event: GraphEvent) -> GraphEvent:
    if not faults.hits("duplicate_graph_node", event.request_id, event.tenant_id):
        return event
    return msgspec.structs.replace(event, agent_id=event.agent_id.upper())


class GraphWriter:
    """Writes batches of graph events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, events: list[GraphEvent]) -> None:
        """Commit a batch, all of it or nothing; raises psycopg.Error."""
        events = [*map(_as_spelled, events)]
        edges = [
            (
                event.org_id or event.tenant_id,
                event.tenant_id,
                event.agent_id,
                event.tool,
                event.edge_type,
                event.action,
                event.outcome,
                event.risk_score,
                event.request_id,
                event.occurred_at,
            )
            for event in events
        ]
        connection = self._database.connection()
        with connection.transaction(), connection.pipeline():
            connection.execute(_UPSERT_NODES, [*map(list, zip(*nodes_of(events), strict=True))])
            connection.execute(_INSERT_EDGES, [*map(list, zip(*edges, strict=True))])


def main(settings: Settings) -> int:
    """Run the graph worker until SIGTERM."""
    client = redis_client(settings)
    writer = GraphWriter(Database(settings.dsn("graph"), "acp-graph"))
    reader = StreamReader(client, STREAM, "identity-graph-1", BATCH, LINGER_S)
    worker = StreamWorker(reader, STREAM, decode_graph, writer.write)

    def task(stop: threading.Event) -> None:
        worker.run(stop)

    collector = StreamCollector(redis_client(settings), STREAM, "acp_graph_stream_length")
    return serve("graph", settings, [task], [collector])
