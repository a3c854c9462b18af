from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from uuid import uuid4

import pytest
import redis

from infra.acp import events
from infra.acp.workers.flight import Backfill, FlightWriter, latest_of_each
from infra.acp.workers.runtime import Database
from soak_pipeline_tests.infra.platform_events import (
    NOON,
    TENANTS,
    append,
    flight_event,
    flight_worker,
    query,
    work_off,
)
from soak_pipeline_tests.infra.servers import Servers

TIMELINES = "SELECT request_id, status, duration_ms, final_decision FROM execution_timelines ORDER BY request_id"
STEPS = "SELECT request_id, step_index, step_type, status, latency_ms FROM execution_steps ORDER BY request_id"


def writer_on(servers: Servers) -> FlightWriter:
    return FlightWriter(Database(servers.dsn("acp_flight_recorder"), "test"))


@pytest.mark.parametrize("batches_of_one", [True, False])
def test_any_order_and_any_repetition_gives_the_same_timeline(servers: Servers, batches_of_one: bool) -> None:
    writer = writer_on(servers)
    requests = []
    for order in permutations(["in_progress", "ok", "in_progress", "ok"]):
        request = str(uuid4())
        requests.append(request)
        sent = [flight_event(status, request) for status in order]
        for batch in [[event] for event in sent] if batches_of_one else [sent]:
            writer.write(batch)
    assert query(servers, "acp_flight_recorder", TIMELINES) == [(r, "ok", 25, "allow") for r in sorted(requests)]
    assert query(servers, "acp_flight_recorder", STEPS) == [
        (request, 0, "tool_execution", "ok", 25.0) for request in sorted(requests)
    ]


def test_a_timeline_stays_open_until_it_is_closed(servers: Servers) -> None:
    writer, request = writer_on(servers), str(uuid4())
    writer.write([flight_event("in_progress", request, tool="read_file", session_id="s")])
    assert query(servers, "acp_flight_recorder", TIMELINES) == [(request, "in_progress", None, None)]
    assert query(servers, "acp_flight_recorder", STEPS) == []
    writer.write([flight_event("failed", request, tool="read_file", session_id="s")])
    assert query(servers, "acp_flight_recorder", TIMELINES) == [(request, "failed", 25, "error")]


def test_the_same_request_id_in_two_tenants_is_two_timelines(servers: Servers) -> None:
    request = str(uuid4())
    writer_on(servers).write([flight_event("ok", request), flight_event("failed", request, TENANTS[1])])
    assert [row[1] for row in query(servers, "acp_flight_recorder", TIMELINES + ", status")] == ["failed", "ok"]


def test_of_several_events_the_first_closing_counts() -> None:
    request, other = str(uuid4()), str(uuid4())
    opening, closing, second = (flight_event(status, request) for status in ("in_progress", "ok", "failed"))
    alone = flight_event("in_progress", other)
    assert latest_of_each([opening, alone, closing, second]) == [closing, alone]


def test_the_stream_is_worked_off(servers: Servers, client: redis.Redis) -> None:
    for _ in range(30):
        request = str(uuid4())
        for status in ("in_progress", "ok"):
            append(client, events.FLIGHT_STREAM, events.encode_flight(flight_event(status, request)))
    work_off(flight_worker(servers, client), client, events.FLIGHT_STREAM)
    statuses = "SELECT status, count(*) FROM execution_timelines GROUP BY status"
    assert query(servers, "acp_flight_recorder", statuses) == [("ok", 30)]


def test_the_backfill_closes_what_is_stuck_and_a_late_closing_still_wins(servers: Servers) -> None:
    database = Database(servers.dsn("acp_flight_recorder"), "test")
    now = query(servers, "acp_flight_recorder", "SELECT now()")[0][0]
    writer = FlightWriter(database)
    stuck, late, young = "1", "2", "3"
    stuck, late, young = (str(uuid4())[:-1] + digit for digit in (stuck, late, young))
    for request, age_s in ((stuck, 301), (late, 301), (young, 299)):
        writer.write([flight_event("in_progress", request, started_at=now - timedelta(seconds=age_s))])
    backfill = Backfill(database, grace_s=300.0, interval_s=3_600.0)
    backfill.run_if_due()
    by_request = {row[0]: row[1:] for row in query(servers, "acp_flight_recorder", TIMELINES)}
    assert by_request == {
        stuck: ("recovered_backfill", None, "error"),
        late: ("recovered_backfill", None, "error"),
        young: ("in_progress", None, None),
    }
    writer.write([flight_event("ok", late), flight_event("in_progress", stuck)])
    backfill.run_if_due()
    by_request = {row[0]: row[1:] for row in query(servers, "acp_flight_recorder", TIMELINES)}
    assert by_request[late] == ("ok", 25, "allow")
    assert by_request[stuck] == ("recovered_backfill", None, "error")


def test_the_backfill_waits_for_its_interval(servers: Servers) -> None:
    database = Database(servers.dsn("acp_flight_recorder"), "test")
    backfill = Backfill(database, grace_s=300.0, interval_s=3_600.0)
    backfill.run_if_due()
    FlightWriter(database).write([flight_event("in_progress", str(uuid4()), started_at=NOON)])
    backfill.run_if_due()
    assert [row[1] for row in query(servers, "acp_flight_recorder", TIMELINES)] == ["in_progress"]
