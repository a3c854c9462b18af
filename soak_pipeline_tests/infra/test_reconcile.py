from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from infra.acp import reconcile
from infra.acp.events import AUDIT_DLQ, BILLING_DLQ
from infra.acp.workers.runtime import Database
from infra.acp.workers.usage import UsageWorker
from soak_pipeline_tests.infra.platform_events import TENANTS, audit_event, query, tamper, write_audit
from soak_pipeline_tests.infra.servers import Servers

ids = st.integers(0, 15).map(lambda number: str(UUID(int=number << 120)))


@pytest.fixture
def billed(servers: Servers, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """Two tenants, each with 5 billed calls, a rejected one and a login."""
    monkeypatch.setenv("ACP_AUDIT_DSN", servers.dsn("acp_audit"))
    monkeypatch.setenv("ACP_USAGE_DSN", servers.dsn("acp_usage"))
    monkeypatch.setenv("ACP_REDIS_URL", servers.redis_url)
    for tenant in TENANTS[:2]:
        calls = [audit_event(tenant) for _ in range(5)]
        write_audit(
            servers, client, *calls, audit_event(tenant, decision="reject"), audit_event(tenant, action="user_login")
        )
    audit, usage = Database(servers.dsn("acp_audit"), "test"), Database(servers.dsn("acp_usage"), "test")
    assert UsageWorker(client, audit, usage, 0.0, 5).drain() == 10
    return servers


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = reconcile.main(["--grace-seconds", "0", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_all_billed_once_is_verified(billed: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(capsys)
    assert code == 0
    assert report.pop("ts")
    assert report == {
        "tenant_id": None,
        "billable_audit_count": 10,
        "usage_record_count": 10,
        "audit_without_usage_count": 0,
        "usage_without_audit_count": 0,
        "usage_billed_twice_count": 0,
        "audit_without_usage_sample": [],
        "usage_without_audit_sample": [],
        "billing_dlq_length": 0,
        "audit_dlq_length": 0,
        "outbox_pending_age_seconds": 0.0,
        "is_integrous": True,
        "status": "VERIFIED",
        "error": None,
    }
    code, report = run(capsys, "--tenant", TENANTS[1])
    assert (code, report["billable_audit_count"], report["tenant_id"]) == (0, 5, TENANTS[1])


def test_a_call_that_is_not_billed_is_a_gap_once_its_grace_is_over(
    billed: Servers, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = query(billed, "acp_audit", "SELECT now()")[0][0]
    event = audit_event(TENANTS[0], occurred_at=fresh)
    write_audit(billed, client, event)
    assert reconcile.main(["--grace-seconds", "3600"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["billable_audit_count"], report["usage_record_count"]) == (11, 10)
    assert report["outbox_pending_age_seconds"] >= 0
    code, report = run(capsys)
    assert (code, report["status"], report["audit_without_usage_count"]) == (1, "GAP_DETECTED", 1)
    assert report["audit_without_usage_sample"] == [event.request_id]
    assert run(capsys, "--tenant", TENANTS[1])[0] == 0


def test_a_record_of_no_call_is_a_gap(billed: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    gone = query(billed, "acp_audit", "SELECT request_id FROM audit_logs WHERE action = 'execute_tool' LIMIT 1")[0][0]
    tamper(billed, "DELETE FROM audit_logs WHERE request_id = %s", gone)
    query(billed, "acp_usage", "UPDATE usage_records SET audit_id = NULL WHERE audit_id = %s RETURNING 1", gone)
    code, report = run(capsys)
    assert (code, report["usage_without_audit_count"], report["usage_without_audit_sample"]) == (1, 1, [])


@pytest.mark.parametrize(("key", "field"), [(BILLING_DLQ, "billing_dlq_length"), (AUDIT_DLQ, "audit_dlq_length")])
def test_a_dead_letter_is_a_gap(
    billed: Servers, client: redis.Redis, capsys: pytest.CaptureFixture[str], key: str, field: str
) -> None:
    if key == BILLING_DLQ:
        client.lpush(key, "{}")
    else:
        client.xadd(key, {"error": "x"})
    code, report = run(capsys)
    assert (code, report["status"], report[field]) == (1, "GAP_DETECTED", 1)


@pytest.mark.parametrize("unreachable", ["ACP_AUDIT_DSN", "ACP_USAGE_DSN", "ACP_REDIS_URL"])
def test_what_cannot_be_read_is_an_error_never_a_zero(
    billed: Servers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, unreachable: str
) -> None:
    nowhere = "redis://127.0.0.1:1/0" if unreachable == "ACP_REDIS_URL" else "postgresql://127.0.0.1:1/none"
    monkeypatch.setenv(unreachable, nowhere)
    code, report = run(capsys)
    assert (code, report["status"], report["is_integrous"]) == (1, "ERROR", False)
    assert report["error"]
    if unreachable == "ACP_REDIS_URL":
        assert (report["billing_dlq_length"], report["audit_dlq_length"]) == (None, None)


def test_what_is_not_named_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ACP_AUDIT_DSN", "ACP_USAGE_DSN", "ACP_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert reconcile.main([]) == 2
    assert "ACP_AUDIT_DSN, ACP_USAGE_DSN, ACP_REDIS_URL" in capsys.readouterr().err


@given(
    usage=st.lists(ids, max_size=12),
    audit=st.dictionaries(ids, st.tuples(st.booleans(), st.booleans()), max_size=12),
    without_call=st.integers(0, 2),
)
def test_merging_gives_what_sets_give(usage: list[str], audit: dict[str, tuple[bool, bool]], without_call: int) -> None:
    report = reconcile.Report(tenant_id=None)
    rows = [(request, *flags) for request, flags in sorted(audit.items())]
    reconcile.merge(iter([*sorted(usage), *[None] * without_call]), iter(rows), report)
    billable = {request for request, (is_billable, _) in audit.items() if is_billable}
    due = {request for request in billable if audit[request][1]}
    unbilled, unknown = due - set(usage), set(usage) - set(audit)
    assert report.billable_audit_count == len(billable)
    assert report.usage_record_count == len(usage) + without_call
    assert report.audit_without_usage_count == len(unbilled)
    assert report.audit_without_usage_sample == sorted(unbilled)[:10]
    assert report.usage_without_audit_count == len(unknown) + without_call
    assert report.usage_without_audit_sample == sorted(unknown)[:10]
    assert report.usage_billed_twice_count == len(usage) - len(set(usage))


def test_a_watch_publishes_each_report_and_goes_on_without_a_gateway(
    billed: Servers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[tuple[str, dict[str, Any]]] = []
    sleeps: list[float] = []

    def post(url: str, *, json: dict[str, Any], timeout: float) -> None:
        published.append((url, json))
        if len(published) == 2:
            raise httpx.ConnectError("no gateway")

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(httpx, "post", post)
    monkeypatch.setattr("infra.acp.reconcile.time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        reconcile.main(["--watch", "1", "--gateway-url", "http://gateway/"])
    assert [url for url, _ in published] == ["http://gateway/internal/reconciliation-report"] * 3
    assert [report["status"] for _, report in published] == ["VERIFIED"] * 3
    assert sleeps == [5.0, 5.0, 5.0]
    assert len(capsys.readouterr().out.splitlines()) == 3
