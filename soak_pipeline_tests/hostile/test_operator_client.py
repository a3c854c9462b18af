"""The operator's calls against a hostile gateway: a clear error in bounded time, and nothing of ours given away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from soak_pipeline.dialect.requests import Request
from soak_pipeline.model.errors import BadInput, TargetFailed
from soak_pipeline.model.target import StopLever
from soak_pipeline.target import accounts, preflight, stop
from soak_pipeline.target.databases import Unreadable
from soak_pipeline.target.gateway import MAX_ANSWER_BYTES, Gateway, GatewayUnreachable
from soak_pipeline.target.metrics import MAX_PAGE_BYTES, fetch_page, metrics_client, parse_metrics
from soak_pipeline.target.platform_chain import ask_platform
from soak_pipeline.target.roots import published_key
from soak_pipeline_tests.hostile.scripts import BODIES, BROKEN, ENCODED, ENDLESS, SLOW
from soak_pipeline_tests.hostile.server import (
    Conversation,
    HostileServer,
    Script,
    answering,
    certificate,
    hostile,
    response,
)
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.waiting import PATIENCE_S

SHORT_TIMEOUT_S = 0.15
SOCKET_BUFFERS_BYTES = 16 * 1024 * 1024
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcGVyYXRvciJ9.c2lnbmF0dXJlc2lnbmF0dXJl"
SIGNED_IN = response(b'{"success": true, "data": {"access_token": "%s", "expires_in": 900}}' % TOKEN.encode())
ALL = {**ENDLESS, **SLOW, **BROKEN, **{name: answering(answer) for name, answer in ENCODED.items()}}
LONG_WINDED = ("tiny chunks without end", "interim answers without end")
"""Costs the client time, but no memory."""

TENANT = examples.plan().tenants[0]


def _behind_the_login(script: Script) -> Script:
    """Signs the operator in, on a connection of its own, and is hostile to everything else."""

    def behave(conversation: Conversation) -> None:
        first = conversation.hear()
        if b"/auth/token" in first:
            conversation.say(SIGNED_IN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        elif first:
            script(_Resumed(conversation, first))

    return behave


class _Resumed(Conversation):
    """A conversation whose first request has been heard already."""

    def __init__(self, conversation: Conversation, first: bytes) -> None:
        super().__init__(conversation.server, conversation.socket)
        self._first = first

    def hear(self) -> bytes:
        first, self._first = self._first, b""
        return first or super().hear()


def _gateway(server: HostileServer, timeout_s: float = PATIENCE_S) -> Gateway:
    return Gateway(examples.resolved(gateway_url=server.url), timeout_s=timeout_s)


def _patience_s(name: str) -> float:
    """Short where nothing but the end of patience ends an exchange."""
    return SHORT_TIMEOUT_S if name in SLOW or name in LONG_WINDED else PATIENCE_S


def _is_clear(failure: Exception) -> bool:
    text = str(failure)
    return text.isprintable() and examples.ADMIN_PASSWORD not in text and TOKEN not in text and len(text) < 500


@pytest.mark.parametrize("name", ALL)
def test_a_call_ends_in_a_clear_error(name: str) -> None:
    with hostile(_behind_the_login(ALL[name])) as server, _gateway(server, _patience_s(name)) as gateway:
        with pytest.raises(TargetFailed) as caught:
            gateway.call(Request("GET", "/agents")).json()
        assert _is_clear(caught.value)
        assert server.sent_bytes < MAX_ANSWER_BYTES + SOCKET_BUFFERS_BYTES


@pytest.mark.parametrize("name", ALL)
def test_a_login_ends_in_a_clear_error(name: str) -> None:
    with hostile(ALL[name]) as server, _gateway(server, _patience_s(name)) as gateway:
        with pytest.raises(TargetFailed) as caught:
            gateway.call(Request("GET", "/agents"))
        assert _is_clear(caught.value)


READERS: dict[str, Callable[[Gateway], object]] = {
    "agents": lambda gateway: accounts.agents_by_name(gateway, TENANT.tenant_id),
    "permissions": lambda gateway: accounts.permissions(gateway, TENANT.tenant_id, "agent"),
    "a new agent": lambda gateway: accounts.create_agent(gateway, TENANT.tenant_id, "name", ""),
    "a user": lambda gateway: accounts.ensure_user(gateway, TENANT.tenant_id, "a@b.c", "password"),
    "a tenant": lambda gateway: accounts.put_tenant(gateway, TENANT.tenant_id, "name", rpm_limit=1),
    "a grant": lambda gateway: accounts.grant(gateway, TENANT.tenant_id, "agent", "read_file"),
    "the kill switch": lambda gateway: accounts.kill_switch_is_engaged(gateway, TENANT.tenant_id),
    "the chain": lambda gateway: ask_platform(gateway, TENANT),
    "the key": published_key,
    "a login": lambda gateway: gateway.login("a@b.c", "password"),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("status", [200, 409, 500])
def test_no_body_breaks_a_reader(reader: Callable[[Gateway], object], status: int) -> None:
    current = SimpleNamespace(body=b"")

    def script(conversation: Conversation) -> None:
        while conversation.hear():
            conversation.say(response(current.body, status))

    def behave(conversation: Conversation) -> None:
        while heard := conversation.hear():
            conversation.say(SIGNED_IN if b"admin@acp.local" in heard else response(current.body, status))

    with hostile(behave) as server, _gateway(server) as gateway:
        failures: list[TargetFailed] = []
        for body in BODIES.values():
            current.body = body
            try:
                reader(gateway)
            except TargetFailed as failure:
                failures.append(failure)
        assert all(map(_is_clear, failures)), failures


@pytest.mark.parametrize(
    "name", ["x\r\nX-Tenant-ID: other", "../../auth/tenants", "..", "a/b", "a?b", "", "\u00e9", "x" * 5000]
)
def test_an_id_that_would_change_a_request_is_none(name: str) -> None:
    listing = msgspec.json.encode({"data": [{"id": name, "name": "soak", "tool_name": "t", "action": "ALLOW"}]})
    made = msgspec.json.encode({"data": {"id": name}})

    def behave(conversation: Conversation) -> None:
        while heard := conversation.hear():
            conversation.say(
                SIGNED_IN if b"/auth/token" in heard else response(made if heard.startswith(b"POST") else listing)
            )

    with hostile(behave) as server, _gateway(server) as gateway:
        assert accounts.agents_by_name(gateway, TENANT.tenant_id) == {}
        assert accounts.permissions(gateway, TENANT.tenant_id, "agent") == {}
        with pytest.raises(TargetFailed, match="without an id"):
            accounts.create_agent(gateway, TENANT.tenant_id, "name", "")


@pytest.mark.parametrize("token", ["a.b.c\r\nX-Admin: yes", "a.b.\u00e9", "a.b.c d", "x" * 9000])
def test_a_token_that_would_change_a_request_is_none(token: str) -> None:
    body = msgspec.json.encode({"success": True, "data": {"access_token": token}})
    with hostile(answering(response(body))) as server, _gateway(server) as gateway:
        with pytest.raises(TargetFailed, match="without a token"):
            gateway.call(Request("GET", "/agents"))
        assert len(server.heard) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    with hostile(answering(response(b"{}"))) as elsewhere:
        moved = answering(response(b"", status, f"Location: {elsewhere.url}/\r\nRefresh: 0; url={elsewhere.url}/\r\n"))
        with hostile(_behind_the_login(moved)) as server, _gateway(server) as gateway:
            with pytest.raises(TargetFailed, match=str(status)):
                gateway.call(Request("GET", "/agents"))
            with metrics_client() as client, pytest.raises(Unreadable, match=str(status)):
                fetch_page(client, f"{server.url}/metrics", {"X-Prometheus-Secret": "the-secret"})
        assert elsewhere.connections == 0


def test_cookies_are_never_sent_back() -> None:
    baked = response(b'{"data": []}', headers="Set-Cookie: acp_token=other; Path=/\r\n")
    with hostile(answering(baked)) as server, _gateway(server) as gateway, metrics_client() as client:
        for _ in range(2):
            gateway.send(Request("GET", "/health"))
            fetch_page(client, f"{server.url}/metrics", {})
        assert len(server.heard) == 4
        assert not any(b"cookie" in heard.lower() for heard in server.heard)


def test_the_environments_proxy_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile(answering(response(b"{}"))) as proxy, hostile(answering(response(b"{}"))) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        with _gateway(server) as gateway, metrics_client() as client:
            gateway.send(Request("GET", "/health"))
            fetch_page(client, f"{server.url}/metrics", {})
        assert server.connections == 2
        assert proxy.connections == 0


@pytest.mark.parametrize(("expired", "name"), [(True, "127.0.0.1"), (False, "elsewhere.example")])
def test_no_password_goes_to_a_certificate_that_is_expired_or_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expired: bool, name: str
) -> None:
    path, shown = certificate(tmp_path, expired=expired, name=name)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with hostile(answering(SIGNED_IN), tls=shown) as server, _gateway(server) as gateway:
        with pytest.raises(GatewayUnreachable, match="ConnectError"):
            gateway.call(Request("GET", "/agents"))
        assert server.heard == []


def test_an_authority_of_ones_own_is_trusted_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, shown = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with hostile(answering(SIGNED_IN), tls=shown) as server, _gateway(server) as gateway:
        assert gateway.login("a@b.c", "password") == (TOKEN, 900.0)


def test_no_password_goes_over_plain_http_where_tls_is_expected() -> None:
    with hostile(answering(SIGNED_IN)) as server:
        server.scheme = "https"
        with _gateway(server, SHORT_TIMEOUT_S) as gateway, pytest.raises(GatewayUnreachable):
            gateway.call(Request("GET", "/agents"))
        assert not any(examples.ADMIN_PASSWORD.encode() in heard for heard in server.heard)


@pytest.mark.parametrize("name", [*ENDLESS, *SLOW])
def test_the_same_holds_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path, shown = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with (
        hostile(ALL[name], tls=shown) as server,
        _gateway(server, _patience_s(name)) as gateway,
        pytest.raises(GatewayUnreachable),
    ):
        gateway.send(Request("GET", "/health"))


@pytest.mark.parametrize("name", ALL)
def test_a_page_is_read_or_unreadable(name: str) -> None:
    found = []
    with hostile(ALL[name]) as server, metrics_client(_patience_s(name)) as client:
        with contextlib.suppress(Unreadable):
            found = list(parse_metrics(fetch_page(client, f"{server.url}/metrics", {}), {"process_open_fds"}))
        assert server.sent_bytes < MAX_PAGE_BYTES + SOCKET_BUFFERS_BYTES
    assert found == []


def test_the_secret_of_a_page_is_not_in_its_error() -> None:
    with hostile(answering(response(b"the-secret", 403))) as server, metrics_client() as client:
        with pytest.raises(Unreadable) as caught:
            fetch_page(client, f"{server.url}/metrics", {"X-Prometheus-Secret": "the-secret"})
        assert b"the-secret" in server.heard[0]
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["NaN", "+Inf", "-Inf", "-1", "-0.5", "1e999", "0x10", "1_000", "", "one", "1 2 3", "{}", '{a="b"} x']
)
def test_a_value_that_counts_nothing_is_left_out(value: str) -> None:
    page = f"process_open_fds {value}\nprocess_threads 4\n"
    assert [sample.name for sample in parse_metrics(page, {"process_open_fds", "process_threads"})] == [
        "process_threads"
    ]


def test_a_page_of_one_endless_line_costs_no_time() -> None:
    for filling in ("}", "} ", '="', "\\", ' a="b",'):
        line = "process_open_fds{" + filling * (MAX_PAGE_BYTES // 4 // len(filling))
        assert list(parse_metrics(line, {"process_open_fds"})) == []


CHOSEN = ("chunks without end", "two lengths", "a reset after the request")


@pytest.mark.parametrize("name", CHOSEN)
def test_preflight_ends_before_anything_is_created(name: str) -> None:
    with hostile(ALL[name]) as server, pytest.raises(BadInput) as caught:
        preflight.require_reachable(examples.resolved(gateway_url=server.url))
    assert examples.ADMIN_PASSWORD not in str(caught.value)
    assert all(heard.startswith((b"GET /health ", b"POST /auth/token ")) for heard in server.heard)


@pytest.mark.parametrize("lever", list(StopLever))
@pytest.mark.parametrize("name", [*CHOSEN, "headers, a byte now and then"])
def test_blocking_says_what_it_could_not_do(name: str, lever: StopLever, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "TIMEOUT_S", PATIENCE_S if name in CHOSEN else SHORT_TIMEOUT_S)
    monkeypatch.setattr(stop, "BLOCK_ATTEMPTS", 1)
    of = examples.with_lever(lever)
    with hostile(_behind_the_login(ALL[name])) as server:
        silence = stop.block_tenants(
            examples.resolved(of, gateway_url=server.url), examples.plan(of), probe_calls=1, probe_s=0.0
        )
    assert silence.blocked_unix_s is None
    for tenant in silence.tenants:
        assert not tenant.blocked
        assert "not blocked" in tenant.reason
