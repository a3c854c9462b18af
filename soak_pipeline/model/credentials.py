"""Passwords of the soak tenants' accounts: derived when needed, so that none is ever stored.

Owns the derivation. Never keeps, prints or writes a password.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def tenant_password(operator_password: str, run_id: str, tenant: str) -> str:
    """Password of a tenant's account in one run: HMAC-SHA256 under the operator's password, url-safe base64.

    Every process that holds the operator's credential derives the same password, so it is in no file, no argument and
    no message; who sees one tenant's password learns nothing about the operator's or another tenant's.

    Args:
        operator_password: the operator's password on the target.
        run_id: of the run.
        tenant: its name in the plan.

    Returns:
        43 characters of `[A-Za-z0-9_-]`.
    """
    message = f"soak/{run_id}/tenant/{tenant}/password".encode()
    digest = hmac.new(operator_password.encode(), message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def tenant_user_email(run_id: str, tenant: str) -> str:
    """E-mail of a tenant's account in one run; unique on the platform, and found again when provisioning is re-run."""
    return f"soak-{run_id.lower()}-{tenant.lower()}@soak.example"
