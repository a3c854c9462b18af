-- Which agent touched which tool: one node each, one edge per call.
SET client_min_messages = warning;

CREATE TABLE IF NOT EXISTS graph_nodes (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    node_type varchar(20) NOT NULL CHECK (node_type IN ('agent', 'tool', 'resource', 'tenant', 'human')),
    external_id varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    trust_score double precision NOT NULL DEFAULT 1.0,
    drift_score double precision NOT NULL DEFAULT 0.0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, node_type, external_id)
);

CREATE TABLE IF NOT EXISTS graph_edges (
    id bigint GENERATED ALWAYS AS IDENTITY,
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    src_node_id uuid NOT NULL,
    dst_node_id uuid NOT NULL,
    edge_type varchar(20) NOT NULL CHECK (edge_type IN ('invokes', 'reads', 'writes', 'delegates', 'escalates')),
    action varchar(100) NOT NULL,
    outcome varchar(10) NOT NULL CHECK (outcome IN ('allow', 'deny', 'error')),
    risk_score double precision NOT NULL DEFAULT 0,
    request_id uuid NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, request_id)
);
CREATE INDEX IF NOT EXISTS graph_edges_by_source ON graph_edges (src_node_id, id);
