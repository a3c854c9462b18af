from __future__ import annotations

import json
from uuid import uuid4

import psycopg
import pytest

from infra.acp import backfill
from infra.acp.workers.flight import FlightWriter, timeline_id
from infra.acp.workers.runtime import Database
from soak_pipeline_tests.infra.platform_events import flight_event, query
from soak_pipeline_tests.infra.servers import Servers

STATUSES = "SELECT status, final_decision FROM execution_timelines ORDER BY started_at, request_id"


@pytest.fixture
def flight_dsn(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> str:
    dsn = servers.dsn("acp_flight_recorder")
    monkeypatch.setenv("ACP_FLIGHT_DSN", dsn)
    return dsn


def open_timeline(servers: Servers) -> str:
    request = str(uuid4())
    event = flight_event("in_progress", request)
    FlightWriter(Database(servers.dsn("acp_flight_recorder"), "test")).write([event])
    return timeline_id(event)


def test_by_default_it_only_lists(servers: Servers, flight_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    stuck = open_timeline(servers)
    assert backfill.main([]) == 0
    listed, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert (listed["id"], listed["final_decision"], report) == (stuck, "error", {"would_close": 1})
    assert query(servers, "acp_flight_recorder", STATUSES) == [("in_progress", None)]


def test_execute_closes_at_most_the_limit(
    servers: Servers, flight_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        open_timeline(servers)
    for expected in (2, 1, 0):
        assert backfill.main(["--execute", "--limit", "2"]) == 0
        assert json.loads(capsys.readouterr().out) == {"closed": expected}
    assert query(servers, "acp_flight_recorder", STATUSES) == [("recovered_backfill", "error")] * 3


@pytest.mark.parametrize(
    ("step_status", "decision"),
    [("ok", "allow"), ("deny", "block"), ("block", "block"), ("pending", "escalate"), ("error", "error")],
)
def test_the_decision_is_that_of_the_last_step(
    servers: Servers, flight_dsn: str, step_status: str, decision: str
) -> None:
    stuck = open_timeline(servers)
    with psycopg.connect(flight_dsn) as connection:
        for index, status in enumerate(["error", step_status]):
            connection.execute(
                "INSERT INTO execution_steps (timeline_id, request_id, step_index, step_type, status, occurred_at)"
                " VALUES (%s, 'r', %s, 'decision', %s, now())",
                [stuck, index, status],
            )
    assert backfill.main(["--execute"]) == 0
    assert query(servers, "acp_flight_recorder", STATUSES) == [("recovered_backfill", decision)]


def test_the_grace_is_kept(servers: Servers, flight_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    open_timeline(servers)
    assert backfill.main(["--execute", "--grace-minutes", "1e9"]) == 0
    assert json.loads(capsys.readouterr().out) == {"closed": 0}


def test_without_a_database_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ACP_FLIGHT_DSN", raising=False)
    assert backfill.main([]) == 2
    assert "ACP_FLIGHT_DSN" in capsys.readouterr().err
    assert backfill.main(["--database-url", "postgresql://127.0.0.1:1/none"]) == 1
