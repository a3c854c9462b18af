-- One timeline per execution that got as far as a tool name, and at most one step of it.
SET client_min_messages = warning;

CREATE TABLE IF NOT EXISTS execution_timelines (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    request_id varchar(64) NOT NULL,
    session_id varchar(128),
    agent_id uuid,
    tool varchar(255),
    started_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    duration_ms int,
    final_decision varchar(32),
    final_risk double precision,
    status varchar(32) NOT NULL DEFAULT 'in_progress'
        CHECK (status IN ('in_progress', 'ok', 'failed', 'recovered_backfill')),
    metadata_json jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, request_id)
);
CREATE INDEX IF NOT EXISTS timelines_by_start ON execution_timelines (tenant_id, started_at);
CREATE INDEX IF NOT EXISTS timelines_in_progress ON execution_timelines (started_at) WHERE status = 'in_progress';
CREATE INDEX IF NOT EXISTS timelines_recovered ON execution_timelines (tenant_id, started_at)
    WHERE status = 'recovered_backfill';

CREATE TABLE IF NOT EXISTS execution_steps (
    timeline_id uuid NOT NULL,
    request_id varchar(64) NOT NULL,
    step_index int NOT NULL DEFAULT 0,
    step_type varchar(64) NOT NULL,
    status varchar(32) NOT NULL,
    latency_ms double precision,
    risk_score double precision,
    summary text,
    payload jsonb NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (timeline_id, step_index)
);
