from __future__ import annotations

import base64
import hashlib
import hmac

from soak_pipeline.model.credentials import tenant_password, tenant_user_email


def test_a_password_is_the_keyed_hash_of_its_place() -> None:
    digest = hmac.new(b"operator", b"soak/20261123T073000Z/tenant/A/password", hashlib.sha256).digest()
    password = tenant_password("operator", "20261123T073000Z", "A")
    assert password == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert len(password) == 43


def test_every_input_changes_the_password() -> None:
    places = [("o", "r", "A"), ("p", "r", "A"), ("o", "s", "A"), ("o", "r", "B")]
    assert len({tenant_password(*place) for place in places}) == 4


def test_accounts_of_runs_and_tenants_are_told_apart() -> None:
    assert tenant_user_email("20261123T073000Z", "A") == "soak-20261123t073000z-a@soak.example"
