"""The small parts of the gateway: tokens, passwords, service times, routes, metrics' labels, request parsing."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.acp.gateway import metrics, passwords, roles
from infra.acp.gateway.http import Refusal, Request, is_canonical_uuid
from infra.acp.gateway.routes import Route, Router
from infra.acp.gateway.service_time import service_time_s
from infra.acp.gateway.status import RecentLatency
from infra.acp.gateway.tokens import InvalidToken, Principal, TokenAuthority
from infra.acp.settings import DEFAULT_TENANT_ID

SECRET = "a-secret-of-at-least-thirty-two-bytes"
TENANT = "11111111-1111-4111-8111-111111111111"


def authority(**changes: Any) -> TokenAuthority:
    return TokenAuthority(SECRET, **{"ttl_s": 900, **changes})


def principal(role: str, tenant_id: str = TENANT) -> Principal:
    _, issued = authority().issue(subject="u", tenant_id=tenant_id, org_id=tenant_id, role=role, user_id="u")
    return issued


def test_a_token_says_who_it_was_issued_to() -> None:
    tokens = authority()
    token, issued = tokens.issue(subject="u1", tenant_id=TENANT, org_id=TENANT, role="OWNER", user_id="u1")
    assert tokens.check(token) == issued
    assert authority().check(token) == issued
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["iat"] == 900
    assert claims["typ"] == "ACP_ACCESS"


def test_a_token_is_refused_once_it_has_expired_even_when_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = authority()
    token, issued = tokens.issue(subject="u", tenant_id=TENANT, org_id=TENANT, role="OWNER", user_id="u")
    tokens.check(token)
    monkeypatch.setattr(time, "time", lambda: issued.expires_at)
    with pytest.raises(InvalidToken):
        tokens.check(token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        jwt.encode({"sub": "u"}, SECRET, algorithm="HS256"),
        jwt.encode(
            {"jti": "1", "sub": "u", "tenant_id": TENANT, "role": "OWNER", "typ": "OTHER", "iat": 1, "exp": 2**33},
            SECRET,
            algorithm="HS256",
        ),
    ],
)
def test_what_is_no_token_of_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        authority().check(token)


def test_a_token_of_another_key_or_unsigned_is_refused() -> None:
    foreign, _ = TokenAuthority("x" * 40, ttl_s=900).issue(
        subject="u", tenant_id=TENANT, org_id=TENANT, role="OWNER", user_id="u"
    )
    claims = jwt.decode(foreign, options={"verify_signature": False})
    for token in (foreign, jwt.encode(claims, "", algorithm="none")):
        with pytest.raises(InvalidToken):
            authority().check(token)


def test_only_so_many_tokens_are_remembered() -> None:
    tokens = authority(cache_size=3)
    for number in range(10):
        token, _ = tokens.issue(subject=str(number), tenant_id=TENANT, org_id=TENANT, role="OWNER", user_id="u")
        tokens.check(token)
    assert len(tokens._checked) == 3


def test_a_password_matches_its_hash_only() -> None:
    stored = passwords.hash_password("correct horse", 16)
    assert passwords.verify_password("correct horse", stored)
    assert not passwords.verify_password("correct horsf", stored)
    assert not passwords.verify_password("correct horse", "plain$correct horse")
    assert stored != passwords.hash_password("correct horse", 16)


def test_service_times_are_log_normal_and_repeatable() -> None:
    draws = [service_time_s(f"request-{n}", median_ms=25, sigma=0.3, seed=7) for n in range(4000)]
    logarithms = [math.log(draw / 0.025) for draw in draws]
    assert statistics.fmean(logarithms) == pytest.approx(0.0, abs=0.02)
    assert statistics.pstdev(logarithms) == pytest.approx(0.3, abs=0.02)
    assert draws[0] == service_time_s("request-0", median_ms=25, sigma=0.3, seed=7)
    assert draws[0] != service_time_s("request-0", median_ms=25, sigma=0.3, seed=8)


@given(st.text(), st.floats(0, 1000), st.floats(0, 2), st.integers(-(2**63), 2**63 - 1))
def test_a_service_time_is_finite_and_not_negative(request_id: str, median_ms: float, sigma: float, seed: int) -> None:
    drawn = service_time_s(request_id, median_ms=median_ms, sigma=sigma, seed=seed)
    assert 0 <= drawn < math.inf


async def _handler(services: Any, request: Request) -> Any:
    raise AssertionError("never called here")


ROUTER = Router(
    [
        Route("GET", "/agents", _handler),
        Route("POST", "/agents", _handler),
        Route("GET", "/agents/{agent_id}", _handler),
        Route("DELETE", "/agents/{agent_id}/permissions/{permission_id}", _handler),
    ]
)


def test_routes_are_found_by_path_and_template() -> None:
    found = ROUTER.find("DELETE", "/agents/a1/permissions/p1")
    assert found is not None
    assert found[0].template == "/agents/{agent_id}/permissions/{permission_id}"
    assert found[1] == ("a1", "p1")
    assert ROUTER.find("GET", "/agents") is not None


@pytest.mark.parametrize("path", ["/agents/", "/agents/a/b", "/", "", "/agents//permissions/p", "//agents"])
def test_other_paths_have_no_route(path: str) -> None:
    assert ROUTER.find("GET", path) is None
    assert ROUTER.find("DELETE", path) is None


def test_the_methods_of_a_path_are_known() -> None:
    assert ROUTER.allowed_methods("/agents") == ["GET", "POST"]
    assert ROUTER.allowed_methods("/nowhere") == []


@pytest.mark.parametrize(
    ("role", "minimum", "allowed"),
    [
        ("OWNER", "ADMIN", True),
        ("ADMIN", "ADMIN", True),
        ("user", "ADMIN", False),
        ("user", "READ_ONLY", True),
        ("READ_ONLY", "agent", False),
        ("user", "agent", True),
        ("agent", "agent", True),
        ("agent", "READ_ONLY", False),
        ("agent", "any", True),
        ("unheard of", "READ_ONLY", False),
    ],
)
def test_a_role_must_be_high_enough(role: str, minimum: str, allowed: bool) -> None:
    if allowed:
        roles.require(principal(role), minimum)
    else:
        with pytest.raises(Refusal):
            roles.require(principal(role), minimum)


def test_only_owners_of_the_default_tenant_administer_the_platform() -> None:
    assert roles.is_platform_admin(principal("OWNER", DEFAULT_TENANT_ID))
    assert not roles.is_platform_admin(principal("ADMIN", DEFAULT_TENANT_ID))
    assert not roles.is_platform_admin(principal("OWNER"))


def test_the_labels_of_tenants_are_bounded() -> None:
    counted = metrics.RequestMetrics()
    labels = {counted.label(f"tenant-{number}") for number in range(2 * metrics.LABELLED_TENANTS)}
    assert len(labels) == metrics.LABELLED_TENANTS + 1
    assert counted.label("tenant-0") == "tenant-0"
    assert counted.label("") == metrics.NO_TENANT


def test_a_quarter_of_a_second_is_a_boundary_of_the_latency_histogram() -> None:
    assert 0.25 in metrics.LATENCY_BUCKETS_S


def test_recent_latency_reports_the_last_minute() -> None:
    latency = RecentLatency()
    now = time.perf_counter()
    latency.add(now - 62, 9.0)
    for milliseconds in range(1, 101):
        latency.add(now, milliseconds / 1000)
    report = latency.report()
    assert report["request_count"] == 100
    for name, expected in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
        assert report[name] == pytest.approx(expected, rel=0.011)
    assert RecentLatency().report()["p95_ms"] is None


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (TENANT, True),
        ("AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA", False),
        (TENANT.replace("-", ""), False),
        ("", False),
        (TENANT + "\n", False),
    ],
)
def test_only_the_stored_spelling_of_a_uuid_is_canonical(text: str, is_one: bool) -> None:
    assert is_canonical_uuid(text) is is_one
