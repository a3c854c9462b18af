from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx
import pytest

from soak_pipeline.dialect.requests import Request
from soak_pipeline.target import gateway as gateway_module
from soak_pipeline.target.gateway import Gateway, GatewayRefused, GatewayUnreachable
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.small_platform import SmallPlatform


@pytest.fixture
def platform() -> SmallPlatform:
    return SmallPlatform()


def _gateway(platform: SmallPlatform) -> Gateway:
    return Gateway(examples.resolved(), transport=platform.transport)


def test_the_operator_signs_in_once_and_names_the_tenant(platform: SmallPlatform) -> None:
    seen = []
    platform.override = lambda request: seen.append(request.headers.get("x-tenant-id"))  # type: ignore[func-returns-value]
    with _gateway(platform) as gateway:
        gateway.call(Request("GET", "/agents"), tenant_id="t-1")
        gateway.call(Request("GET", "/agents"), tenant_id="t-2")
    assert platform.calls["POST /auth/token"] == 1
    assert seen == [None, "t-1", "t-2"]


def test_a_refused_token_is_renewed_once(platform: SmallPlatform) -> None:
    with _gateway(platform) as gateway:
        gateway.call(Request("GET", "/agents"), tenant_id="t")
        platform.expire_tokens()
        gateway.call(Request("GET", "/agents"), tenant_id="t")
    assert platform.calls["POST /auth/token"] == 2


def test_a_token_that_is_always_refused_ends_the_call(platform: SmallPlatform) -> None:
    platform.override = lambda request: httpx.Response(401, json={}) if request.url.path == "/agents" else None
    with _gateway(platform) as gateway, pytest.raises(GatewayRefused) as caught:
        gateway.call(Request("GET", "/agents"))
    assert caught.value.status == 401
    assert platform.calls["POST /auth/token"] == 2


def test_an_expiring_token_is_renewed_before_its_end(platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(gateway_module.time, "monotonic", lambda: now_s)
    with _gateway(platform) as gateway:
        gateway.call(Request("GET", "/agents"))
        now_s += 839.0
        gateway.call(Request("GET", "/agents"))
        assert platform.calls["POST /auth/token"] == 1
        now_s += 1.0  # 900 s of life less the margin of 60 s.
        gateway.call(Request("GET", "/agents"))
    assert platform.calls["POST /auth/token"] == 2


def test_the_token_may_be_in_the_cookie_alone(platform: SmallPlatform) -> None:
    cookie = "acp_token=aaa.bbb.ccc; HttpOnly; Path=/"
    platform.override = lambda request: (
        httpx.Response(200, content=b'{"success":true,"data":{"access_tok', headers={"set-cookie": cookie})
        if request.url.path == "/auth/token"
        else None
    )
    with _gateway(platform) as gateway:
        assert gateway.login("a@b", "c") == ("aaa.bbb.ccc", 900.0)


def test_a_cookie_is_never_sent_back(platform: SmallPlatform) -> None:
    cookies: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        cookies.append(request.headers.get("cookie"))
        return httpx.Response(200, json={}, headers={"set-cookie": "acp_token=aaa.bbb.ccc; Path=/"})

    platform.override = answer
    with _gateway(platform) as gateway:
        gateway.send(Request("GET", "/health"))
        gateway.send(Request("GET", "/health"))
    assert cookies == [None, None]


def test_a_redirect_is_not_followed(platform: SmallPlatform) -> None:
    elsewhere = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.host != "127.0.0.1":
            elsewhere.append(request)
        return (
            httpx.Response(302, headers={"location": "http://evil.example/agents"})
            if request.url.path == "/agents"
            else None
        )

    platform.override = answer
    with _gateway(platform) as gateway, pytest.raises(GatewayRefused, match="answered 302"):
        gateway.call(Request("GET", "/agents"))
    assert elsewhere == []


class _Endless(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"x" * 65_536


def test_an_endless_answer_is_cut_off(platform: SmallPlatform) -> None:
    platform.override = lambda request: httpx.Response(200, stream=_Endless())
    with _gateway(platform) as gateway, pytest.raises(GatewayUnreachable):
        gateway.send(Request("GET", "/health"))


def test_a_compressed_answer_is_refused(platform: SmallPlatform) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    platform.override = lambda request: httpx.Response(
        200, stream=httpx.ByteStream(bomb), headers={"content-encoding": "gzip"}
    )
    with _gateway(platform) as gateway, pytest.raises(GatewayUnreachable):
        gateway.send(Request("GET", "/health"))


@pytest.mark.parametrize("body", [b"", b"not json", b"[1, 2", b"\xff"])
def test_what_is_not_json_is_said_to_be_none(platform: SmallPlatform, body: bytes) -> None:
    platform.override = lambda request: httpx.Response(200, content=body)
    with _gateway(platform) as gateway, pytest.raises(GatewayUnreachable, match="not JSON"):
        gateway.send(Request("GET", "/health")).json()


@pytest.mark.parametrize("failure", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
def test_no_answer_is_unreachable(platform: SmallPlatform, failure: httpx.HTTPError) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise failure

    platform.override = fail
    with _gateway(platform) as gateway, pytest.raises(GatewayUnreachable, match=type(failure).__name__):
        gateway.send(Request("GET", "/health"))


def test_what_the_platform_repeats_of_secrets_is_blackened(platform: SmallPlatform) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xxxx.c2lnbmF0dXJl"
    platform.override = lambda request: httpx.Response(
        400, json={"error": f"{examples.ADMIN_PASSWORD} and {token} are wrong"}
    )
    with _gateway(platform) as gateway, pytest.raises(GatewayRefused) as caught:
        gateway.call(Request("GET", "/agents"))
    assert examples.ADMIN_PASSWORD not in str(caught.value)
    assert token not in str(caught.value)
    assert "*** and *** are wrong" in str(caught.value)
