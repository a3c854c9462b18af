from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest
import redis

from infra.acp import verify_chain
from soak_pipeline_tests.infra.platform_events import TENANTS, audit_event, query, tamper, write_audit
from soak_pipeline_tests.infra.servers import Servers

EXPORTED = [
    *("id", "tenant_id", "agent_id", "timestamp", "action", "tool", "decision", "reason", "request_id"),
    *("event_hash", "prev_hash", "chain_shard", "billing_status", "metadata"),
]
EXPORT = """
    SELECT id::text, tenant_id::text, agent_id::text, "timestamp", action, tool, decision, reason, request_id,
           event_hash, prev_hash, chain_shard, billing_status, metadata_json
    FROM audit_logs WHERE tenant_id = %s AND "timestamp" < %s ORDER BY "timestamp" DESC LIMIT %s
"""
MIDDLE = "(SELECT id FROM audit_logs WHERE tenant_id = %s ORDER BY chain_sequence OFFSET 4 LIMIT 1)"
LAST = "(SELECT id FROM audit_logs WHERE tenant_id = %s ORDER BY chain_sequence DESC LIMIT 1)"


@pytest.fixture
def chains(servers: Servers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """Two tenants of ten rows each."""
    monkeypatch.setenv("ACP_AUDIT_DSN", servers.dsn("acp_audit"))
    write_audit(servers, client, *(audit_event(TENANTS[n % 2], reason="é", metadata={"n": n / 4}) for n in range(20)))
    return servers


@contextmanager
def exporting(servers: Servers, tenant_id: str = TENANTS[0]) -> Iterator[str]:
    """Serve `/audit/export` from the rows, as the gateway does: newest first, `until` exclusive."""

    class Export(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parameters = parse_qs(urlparse(self.path).query)
            until = datetime.fromisoformat(parameters.get("until", ["9999-01-01T00:00:00+00:00"])[0])
            allowed = self.headers["Authorization"] == "Bearer good"
            rows = query(servers, "acp_audit", EXPORT, tenant_id, until, int(parameters["limit"][0]))
            lines = [json.dumps(dict(zip(EXPORTED, row, strict=True)), default=str) for row in rows]
            body = "\n".join(lines).encode() if allowed else b"{}"
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Export)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def result_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = verify_chain.main(["--json", *arguments])
    result = json.loads(capsys.readouterr().out)
    return code, {key: result[key] for key in ("valid", "processed", "total_violations")} | {
        "kinds": [violation["kind"] for violation in result["violations"]]
    }


def test_intact_chains_have_no_violation(chains: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_chain.main([]) == 0
    assert capsys.readouterr().out == "violations=0 processed=20\n"
    assert verify_chain.main(["--tenant", TENANTS[1]]) == 0
    assert capsys.readouterr().out == "violations=0 processed=10\n"
    assert verify_chain.main(["--tenant", TENANTS[2]]) == 0
    assert capsys.readouterr().out == "violations=0 processed=0\n"


@pytest.mark.parametrize(
    ("statement", "kinds", "processed"),
    [
        (f"UPDATE audit_logs SET decision = 'deny' WHERE id = {MIDDLE}", ["hash_tamper"], 20),
        (f"UPDATE audit_logs SET metadata_json = '{{}}' WHERE id = {MIDDLE}", ["hash_tamper"], 20),
        (f"UPDATE audit_logs SET event_hash = repeat('0', 64) WHERE id = {MIDDLE}", ["hash_tamper", "chain_gap"], 20),
        (f"DELETE FROM audit_logs WHERE id = {MIDDLE}", ["chain_gap", "row_missing"], 19),
        (f"DELETE FROM audit_logs WHERE id = {LAST}", ["row_missing"], 19),
    ],
)
def test_damage_is_named(
    chains: Servers, capsys: pytest.CaptureFixture[str], statement: str, kinds: list[str], processed: int
) -> None:
    tamper(chains, statement, TENANTS[0])
    code, result = result_of(capsys)
    assert code == 1
    expected = {"valid": False, "processed": processed, "total_violations": len(kinds), "kinds": kinds}
    assert result == expected
    assert verify_chain.main(["--tenant", TENANTS[1]]) == 0
    assert verify_chain.main([]) == 1
    assert f"violations={len(kinds)} processed={processed}\n" in capsys.readouterr().out


def test_rows_of_a_tenant_that_nobody_counted_are_verified_too(
    chains: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    query(chains, "acp_audit", "DELETE FROM audit_counters WHERE tenant_id = %s RETURNING 1", TENANTS[0])
    assert result_of(capsys)[1]["kinds"] == ["row_not_counted"]


@pytest.mark.parametrize("rows_per_page", [3, 10, 10_000])
def test_through_the_export_the_result_is_the_same(
    chains: Servers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows_per_page: int
) -> None:
    monkeypatch.setattr(verify_chain, "ROWS_PER_PAGE", rows_per_page)
    with exporting(chains) as url:
        arguments = ["--base-url", url, "--token", "good"]
        assert verify_chain.main(arguments) == 0
        assert capsys.readouterr().out == "violations=0 processed=10\n"
        tamper(chains, f"UPDATE audit_logs SET decision = 'deny' WHERE id = {MIDDLE}", TENANTS[0])
        assert result_of(capsys, *arguments)[1]["kinds"] == ["hash_tamper"]
        tamper(chains, f"DELETE FROM audit_logs WHERE id = {MIDDLE}", TENANTS[0])
        assert result_of(capsys, *arguments)[1]["kinds"] == ["chain_gap"]
        first = "(SELECT min(chain_sequence) FROM audit_logs WHERE tenant_id = %s)"
        tamper(chains, f"DELETE FROM audit_logs WHERE chain_sequence = {first}", TENANTS[0])
        assert result_of(capsys, *arguments)[1]["kinds"] == ["chain_gap", "chain_gap"]


def test_what_cannot_be_read_is_not_intact(
    chains: Servers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason_of(*arguments: str) -> str:
        assert verify_chain.main(["--json", *arguments]) == 1
        output = json.loads(capsys.readouterr().out)
        assert output["valid"] is False
        return str(output["reason"])

    with exporting(chains) as url:
        assert reason_of("--base-url", url, "--token", "bad") == "http_401"
    assert reason_of("--base-url", url, "--token", "good") == "network"
    monkeypatch.delenv("ACP_TOKEN", raising=False)
    assert reason_of("--base-url", url) == "token"
    assert reason_of("--tenant", "not-a-uuid") == "database"
    monkeypatch.setenv("ACP_AUDIT_DSN", "postgresql://127.0.0.1:1/none")
    assert reason_of() == "database"
    monkeypatch.delenv("ACP_AUDIT_DSN")
    assert reason_of() == "database"
