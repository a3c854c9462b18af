-- Who may do what: tenants, users, agents, their permissions and credentials.
SET client_min_messages = warning;

DO $$ BEGIN
    CREATE TYPE tenant_tier AS ENUM ('basic', 'pro', 'enterprise');
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
    CREATE TYPE degraded_mode_policy AS ENUM ('block_high_risk', 'block_all', 'allow_with_audit');
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

CREATE TABLE IF NOT EXISTS tenants (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL UNIQUE,
    name varchar(255) NOT NULL DEFAULT '',
    tier tenant_tier NOT NULL DEFAULT 'basic',
    rpm_limit int NOT NULL DEFAULT 100000 CHECK (rpm_limit >= 0),   -- 0 blocks the tenant
    is_active boolean NOT NULL DEFAULT true,
    requests_per_second int NOT NULL DEFAULT 50 CHECK (requests_per_second >= 0),
    burst int NOT NULL DEFAULT 100 CHECK (burst >= 0),
    daily_request_cap int NOT NULL DEFAULT 1000000 CHECK (daily_request_cap >= 0),
    monthly_request_cap int CHECK (monthly_request_cap >= 0),
    daily_inference_cost_cap_usd numeric(10, 2) CHECK (daily_inference_cost_cap_usd >= 0),
    degraded_mode_policy degraded_mode_policy NOT NULL DEFAULT 'block_high_risk',
    shadow_mode_until timestamptz,                                  -- null: not in shadow mode
    system_values jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    email varchar(320) NOT NULL UNIQUE,
    full_name varchar(255),
    password_hash text NOT NULL,
    role varchar(50) NOT NULL DEFAULT 'user',
    is_active boolean NOT NULL DEFAULT true,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS users_by_tenant ON users (tenant_id);

CREATE TABLE IF NOT EXISTS agents (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    org_id uuid NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    name varchar(100) NOT NULL,
    description varchar(500) NOT NULL,
    owner_id uuid NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'ACTIVE',
    risk_level varchar(20) NOT NULL DEFAULT 'low' CHECK (risk_level IN ('low', 'medium', 'high', 'critical')),
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS agents_name_in_tenant ON agents (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS agents_by_tenant ON agents (tenant_id, created_at);

CREATE TABLE IF NOT EXISTS agent_permissions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    tool_name varchar(150) NOT NULL,
    action varchar(10) NOT NULL DEFAULT 'ALLOW' CHECK (action IN ('ALLOW', 'DENY')),
    granted_by varchar(255) NOT NULL DEFAULT 'system',
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    UNIQUE (agent_id, tool_name)
);

CREATE TABLE IF NOT EXISTS agent_credentials (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    agent_id uuid NOT NULL UNIQUE REFERENCES agents (id) ON DELETE CASCADE,
    secret_hash text NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'ACTIVE',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The durable half of token revocation; Redis answers the question per call.
CREATE TABLE IF NOT EXISTS revoked_tokens (
    jti uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    subject text NOT NULL,
    reason varchar(100) NOT NULL DEFAULT 'revoked',
    revoked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS revoked_tokens_by_expiry ON revoked_tokens (expires_at);
