-- The audit chain, its outbox towards billing, the signed roots and the kill switches.
SET client_min_messages = warning;

CREATE TABLE IF NOT EXISTS audit_logs (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    action varchar(100) NOT NULL,
    tool varchar(255),
    decision varchar(50) NOT NULL,
    reason text,
    metadata_json jsonb NOT NULL DEFAULT '{}',
    request_id varchar(50),
    event_hash varchar(64) NOT NULL,
    prev_hash varchar(64) NOT NULL,
    hash_version smallint NOT NULL DEFAULT 2,
    chain_shard smallint NOT NULL DEFAULT 0,
    billing_status varchar(20) NOT NULL DEFAULT 'completed',
    "timestamp" timestamptz NOT NULL,          -- part of the hash; strictly increasing within a tenant
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    chain_sequence bigint GENERATED ALWAYS AS IDENTITY
);
CREATE UNIQUE INDEX IF NOT EXISTS audit_logs_request ON audit_logs (request_id) WHERE request_id IS NOT NULL;
-- The order of a tenant's chain: head, pages, verification and sealing all read along this index.
CREATE INDEX IF NOT EXISTS audit_logs_chain ON audit_logs (tenant_id, chain_sequence);
CREATE INDEX IF NOT EXISTS audit_logs_time ON audit_logs (tenant_id, "timestamp");

CREATE OR REPLACE FUNCTION audit_logs_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_logs is append-only: % refused', TG_OP USING ERRCODE = 'P0001';
END $$;
CREATE OR REPLACE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_logs_are_append_only();

-- Billable calls that usage_records does not have yet.  A row is deleted once it is billed,
-- so the table holds what is pending (or has failed), and its size is the backlog.
CREATE TABLE IF NOT EXISTS pending_usage_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    audit_id uuid PRIMARY KEY,                 -- the request id
    agent_id uuid,
    tool varchar(255),
    units int NOT NULL DEFAULT 1,
    cost double precision NOT NULL DEFAULT 0,
    status varchar(20) NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'failed')),
    error_message text,
    retry_count int NOT NULL DEFAULT 0,
    occurred_at timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz
);
CREATE INDEX IF NOT EXISTS pending_usage_events_by_age ON pending_usage_events (created_at) WHERE status = 'pending';

-- Counts kept by the audit writer in its own transaction, so that no reader counts rows.
CREATE TABLE IF NOT EXISTS audit_counters (
    tenant_id uuid PRIMARY KEY,
    row_count bigint NOT NULL,
    billable_count bigint NOT NULL,
    last_sequence bigint NOT NULL,
    last_event_hash varchar(64) NOT NULL,
    last_timestamp timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS audit_hourly_counters (
    tenant_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    action varchar(100) NOT NULL,
    decision varchar(50) NOT NULL,
    row_count bigint NOT NULL,
    PRIMARY KEY (tenant_id, hour, action, decision)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS transparency_roots (
    tenant_id uuid NOT NULL,
    root_date date NOT NULL,
    root_hash char(64) NOT NULL,
    prev_root_hash char(64),
    leaf_count bigint NOT NULL,
    signed_root_payload jsonb NOT NULL,
    leaf_range_start_id uuid NOT NULL,
    leaf_range_end_id uuid NOT NULL,
    window_end timestamptz NOT NULL,           -- timestamp of the last leaf
    signing_key_fingerprint char(64) NOT NULL,
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, root_date)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS kill_switches (
    tenant_id uuid PRIMARY KEY,
    engaged boolean NOT NULL,
    reason text,
    engaged_at timestamptz,
    disengaged_at timestamptz
);
