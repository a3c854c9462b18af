"""Reads the identity graph of the fan-out's tenant; what the statements say is the dialect's."""

from __future__ import annotations

from collections.abc import Collection

from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.stage_outputs import GraphEvidence
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import Unreadable, reading


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
    tenant_id, words = tenant.tenant_id, resolved.dialect.graph
    try:
        with reading(resolved.dsns, "identity_graph") as connection:

            def count(query: str, *parameters: object) -> int:
                row = connection.execute(query, parameters).fetchone()
                return int(row[0]) if row else 0

            return GraphEvidence(
                tenant=tenant.name,
                agent_nodes=count(words.count_agent_nodes, tenant_id, sorted(agent_ids)),
                expected_agent_nodes=len(set(agent_ids)),
                duplicate_nodes=count(words.count_duplicate_nodes, tenant_id),
                duplicate_edges=count(words.count_duplicate_edges, tenant_id),
                missing_edges=count(words.count_missing_edges, sorted(request_ids), tenant_id),
            )
    except Unreadable as reason:
        return GraphEvidence(tenant=tenant.name, reason=str(reason))
