"""Reads the identity graph of the fan-out's tenant. Owns the SQL of `graph_nodes` and `graph_edges`."""

from __future__ import annotations

from collections.abc import Collection

from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.stage_outputs import GraphEvidence
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, reading

# Spellings that differ in case or blanks only are the same agent: two nodes for them are a collision, too.
_AGENT_NODES = """
    SELECT count(DISTINCT lower(btrim(external_id))) FROM graph_nodes
    WHERE tenant_id = %s AND node_type = 'agent' AND lower(btrim(external_id)) = ANY (%s)
"""
_DUPLICATE_NODES = """
    SELECT count(*) FROM (
        SELECT 1 FROM graph_nodes WHERE tenant_id = %s
        GROUP BY node_type, lower(btrim(external_id)) HAVING count(*) > 1
    ) AS repeated
"""
_DUPLICATE_EDGES = """
    SELECT count(*) FROM (
        SELECT 1 FROM graph_edges WHERE tenant_id = %s AND request_id IS NOT NULL
        GROUP BY request_id HAVING count(*) > 1
    ) AS repeated
"""
_MISSING_EDGES = """
    SELECT count(*) FROM unnest(%s::text[]) AS expected (request_id)
    WHERE NOT EXISTS (
        SELECT 1 FROM graph_edges WHERE tenant_id = %s AND graph_edges.request_id = expected.request_id::uuid
    )
"""


def read_graph(
    resolved: ResolvedTarget, tenant: TenantPlan, agent_ids: Collection[str], request_ids: Collection[str]
) -> GraphEvidence:
    """Nodes and edges of one tenant, against what the fan-out must have left.

    Args:
        resolved: the target.
        tenant: the fan-out's.
        agent_ids: agents that made at least one call that was allowed.
        request_ids: UUIDs of the fan-out's allowed calls, each of which must have an edge.

    Returns:
        Counts; None with the reason where they cannot be read.
    """
    tenant_id = tenant.tenant_id
    try:
        with reading(resolved.dsns, "identity_graph") as connection:

            def count(query: str, *parameters: object) -> int:
                row = connection.execute(query, parameters).fetchone()
                return int(row[0]) if row else 0

            return GraphEvidence(
                tenant=tenant.name,
                agent_nodes=count(_AGENT_NODES, tenant_id, sorted(agent_ids)),
                expected_agent_nodes=len(set(agent_ids)),
                duplicate_nodes=count(_DUPLICATE_NODES, tenant_id),
                duplicate_edges=count(_DUPLICATE_EDGES, tenant_id),
                missing_edges=count(_MISSING_EDGES, sorted(request_ids), tenant_id),
            )
    except Unreadable as reason:
        return GraphEvidence(tenant=tenant.name, reason=str(reason))
