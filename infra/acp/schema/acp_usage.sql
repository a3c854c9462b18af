-- What was billed: one record per billable call.
SET client_min_messages = warning;

CREATE TABLE IF NOT EXISTS usage_records (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    agent_id uuid,
    tool varchar(255) NOT NULL,
    audit_id uuid UNIQUE,                      -- the request id, not audit_logs.id
    units int NOT NULL,
    cost double precision NOT NULL,
    "timestamp" timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS usage_records_by_tenant ON usage_records (tenant_id, "timestamp");

-- Sums kept by the usage worker in its own transaction, so that a summary reads one row.
CREATE TABLE IF NOT EXISTS usage_counters (
    tenant_id uuid PRIMARY KEY,
    record_count bigint NOT NULL,
    total_units bigint NOT NULL,
    total_cost double precision NOT NULL
) WITH (fillfactor = 50);
