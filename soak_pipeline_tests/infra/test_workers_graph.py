from __future__ import annotations

from uuid import UUID

import redis

from infra.acp import events
from infra.acp.workers.graph import GraphWriter, nodes_of
from infra.acp.workers.runtime import Database
from soak_pipeline_tests.infra.platform_events import TENANTS, append, graph_event, graph_worker, query, work_off
from soak_pipeline_tests.infra.servers import Servers

AGENTS = tuple(str(UUID(int=number)) for number in (1, 2))
NODES = "SELECT tenant_id::text, node_type, external_id, name FROM graph_nodes ORDER BY 1, 2, 3"
EDGES = """
    SELECT agent.external_id, tool.external_id, count(*) FROM graph_edges AS edge
    JOIN graph_nodes AS agent ON agent.id = edge.src_node_id JOIN graph_nodes AS tool ON tool.id = edge.dst_node_id
    GROUP BY 1, 2 ORDER BY 1, 2
"""


def writer_on(servers: Servers) -> GraphWriter:
    return GraphWriter(Database(servers.dsn("acp_identity_graph"), "test"))


def test_one_node_per_agent_and_tool_and_one_edge_per_call(servers: Servers, client: redis.Redis) -> None:
    sent = [graph_event(agent_id=AGENTS[number % 2], tool=("read", "write")[number // 2 % 2]) for number in range(40)]
    append(client, events.GRAPH_STREAM, *map(events.encode_graph, sent))
    work_off(graph_worker(servers, client), client, events.GRAPH_STREAM)
    assert [row[1:3] for row in query(servers, "acp_identity_graph", NODES)] == [
        ("agent", AGENTS[0]),
        ("agent", AGENTS[1]),
        ("tool", "read"),
        ("tool", "write"),
    ]
    assert query(servers, "acp_identity_graph", EDGES) == [
        (agent, tool, 10) for agent in AGENTS for tool in ("read", "write")
    ]


def test_an_event_delivered_again_adds_nothing(servers: Servers) -> None:
    writer, event = writer_on(servers), graph_event()
    writer.write([event, event])
    writer.write([event])
    assert query(servers, "acp_identity_graph", "SELECT count(*) FROM graph_edges") == [(1,)]
    assert len(query(servers, "acp_identity_graph", NODES)) == 2


def test_tenants_share_no_node(servers: Servers) -> None:
    writer_on(servers).write([graph_event(TENANTS[0]), graph_event(TENANTS[1])])
    assert len(query(servers, "acp_identity_graph", NODES)) == 4


def test_a_new_name_replaces_the_old_one(servers: Servers) -> None:
    writer = writer_on(servers)
    writer.write([graph_event(agent_name="reader")])
    writer.write([graph_event(agent_name="writer")])
    assert [row[3] for row in query(servers, "acp_identity_graph", NODES)] == ["writer", "read_file"]


def test_a_node_that_was_removed_is_made_again(servers: Servers) -> None:
    writer = writer_on(servers)
    writer.write([graph_event()])
    query(servers, "acp_identity_graph", "DELETE FROM graph_nodes RETURNING 1")
    writer.write([graph_event()])
    assert [row[2] for row in query(servers, "acp_identity_graph", EDGES)] == [1]


def test_nodes_of_a_batch_are_distinct_and_sorted() -> None:
    batch = [graph_event(tool="b"), graph_event(tool="a"), graph_event(tool="b")]
    assert [node[2:4] for node in nodes_of(batch)] == [("agent", str(UUID(int=7))), ("tool", "a"), ("tool", "b")]
