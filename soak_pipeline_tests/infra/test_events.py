from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.acp import events
from soak_pipeline_tests.infra.platform_events import NOON, TENANTS, audit_event, flight_event, graph_event


def as_delivered(fields: Mapping[str, Any]) -> dict[bytes, bytes]:
    return {k.encode(): v.encode() if isinstance(v, str) else v for k, v in fields.items()}


@given(
    tool=st.none() | st.text(min_size=1, max_size=20).filter(str.isprintable),
    reason=st.none() | st.text(min_size=1).filter(str.isprintable),
    metadata=st.dictionaries(st.text().filter(str.isprintable), st.integers(-(2**60), 2**60) | st.booleans()),
    offset_h=st.integers(-12, 12),
)
def test_an_audit_event_arrives_as_it_was_sent(
    tool: str | None, reason: str | None, metadata: dict[str, int], offset_h: int
) -> None:
    when = NOON.astimezone(timezone(timedelta(hours=offset_h)))
    sent = audit_event(tool=tool, reason=reason, metadata=metadata, occurred_at=when, org_id=TENANTS[0])
    assert events.decode_audit(as_delivered(events.encode_audit(sent))) == sent


def test_flight_and_graph_events_arrive_as_they_were_sent() -> None:
    closed = flight_event("ok", TENANTS[1], tool="read_file", session_id="s", metadata={"a": [1, None]})
    assert events.decode_flight(as_delivered(events.encode_flight(closed))) == closed
    edge = graph_event(agent_name="reader")
    assert events.decode_graph(as_delivered(events.encode_graph(edge))) == edge


@given(st.text(alphabet=st.characters(exclude_categories=[]) | st.sampled_from(["\0", "\ud800"]), min_size=1))
def test_hostile_text_becomes_text_that_can_be_stored(text: str) -> None:
    encoded: list[Any] = [
        events.encode_audit(audit_event(tool=text, reason=text, metadata={text: [text]})),
        events.encode_flight(flight_event("ok", TENANTS[1], tool=text, session_id=text)),
        events.encode_graph(graph_event(tool=text)),
    ]
    stored = events.decode_audit(as_delivered(encoded[0]))
    assert stored.tool is not None
    for part in (stored.tool, stored.reason or "", *stored.metadata):
        part.encode()
        assert "\0" not in part
    assert "\0" not in (events.decode_flight(as_delivered(encoded[1])).session_id or "")
    assert "\0" not in events.decode_graph(as_delivered(encoded[2])).tool


def test_text_that_is_too_long_for_its_column_is_cut() -> None:
    sent = audit_event(tool="t" * 300, action="a" * 101, decision="d" * 51, reason="r" * 5_000)
    arrived = events.decode_audit(as_delivered(events.encode_audit(sent)))
    assert (len(arrived.tool or ""), len(arrived.action), len(arrived.decision), len(arrived.reason or "")) == (
        255,
        100,
        50,
        4_000,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant_id", "system"),
        ("tenant_id", "0000000A-0000-0000-0000-000000000000"),
        ("request_id", "not-a-uuid"),
        ("ts", "2026-03-01T12:00:00"),
        ("ts", "yesterday"),
        ("metadata_json", "[1]"),
        ("metadata_json", '{"a": NaN}'),
        ("action", "a" * 101),
        ("units", "many"),
        ("reason", b"\xff"),
    ],
)
def test_a_field_that_cannot_be_stored_is_malformed(field: str, value: str | bytes) -> None:
    fields = as_delivered(events.encode_audit(audit_event()))
    fields[field.encode()] = value if isinstance(value, bytes) else value.encode()
    with pytest.raises(events.MalformedEvent):
        events.decode_audit(fields)


@pytest.mark.parametrize("field", [b"tenant_id", b"request_id", b"action", b"decision", b"ts"])
def test_a_missing_field_is_malformed(field: bytes) -> None:
    fields = as_delivered(events.encode_audit(audit_event()))
    del fields[field]
    with pytest.raises(events.MalformedEvent):
        events.decode_audit(fields)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"tenant_id": 1}', b'{"tenant_id": "x"}'])
def test_data_that_is_no_event_is_malformed(data: bytes) -> None:
    for decode in (events.decode_flight, events.decode_graph):
        with pytest.raises(events.MalformedEvent):
            decode({b"data": data})
        with pytest.raises(events.MalformedEvent):
            decode({b"other": data})


def test_a_call_is_billable_if_it_executed_a_tool_and_was_not_rejected() -> None:
    assert audit_event(decision="block").is_billable
    assert not audit_event(decision="reject").is_billable
    assert not audit_event(action="user_login").is_billable
