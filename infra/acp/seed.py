"""The first tenant and its owner, who administers the platform."""

from __future__ import annotations

import psycopg

from infra.acp.gateway.passwords import hash_password
from infra.acp.settings import DEFAULT_TENANT_ID, PASSWORD_COST

_TENANT = """
    INSERT INTO tenants (tenant_id, org_id, name, tier, rpm_limit, requests_per_second, burst, daily_request_cap)
    VALUES (%(tenant)s, %(tenant)s, 'platform', 'enterprise', 1000000, 5000, 10000, 1000000000) ON CONFLICT DO NOTHING
"""
_OWNER = """
    INSERT INTO users (org_id, tenant_id, email, full_name, password_hash, role)
    VALUES (%(tenant)s, %(tenant)s, %(email)s, 'Administrator', %(hash)s, 'OWNER')
    ON CONFLICT (email) DO UPDATE SET password_hash = excluded.password_hash, is_active = true
"""


def seed_admin(identity_dsn: str, email: str, password: str) -> None:
    """Make sure that the default tenant and its owner exist, and that the owner has this password."""
    values = {"tenant": DEFAULT_TENANT_ID, "email": email.lower(), "hash": hash_password(password, PASSWORD_COST)}
    with psycopg.connect(identity_dsn) as connection:
        connection.execute(_TENANT, values)
        connection.execute(_OWNER, values)
