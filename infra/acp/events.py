"""The wire format between the gateway and the workers: streams, groups, fields.

Owns every name and every encoding that both sides must agree on.  It never talks to Redis: the
gateway passes the encoded fields to its own pipeline, the workers pass what they read to the
decoders.

Streams
    acp:audit_stream    group acp:audit:consumers   one field per column (`AuditEvent`)
    acp:flight_events   group acp:flight_recorder   one field `data`, JSON (`FlightEvent`)
    acp:graph_events    group acp:identity_graph    one field `data`, JSON (`GraphEvent`)

An entry is deleted together with its acknowledgement, so the length of a stream is exactly what
no worker has committed yet, and producers need no MAXLEN.  Entries are delivered at least once;
the workers are idempotent on `request_id`, which must therefore be a UUID of its own for every
call.  An entry that can never be written goes to `<stream>:dlq` with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

AUDIT_STREAM: Final = "acp:audit_stream"
AUDIT_GROUP: Final = "acp:audit:consumers"
AUDIT_DLQ: Final = "acp:audit_stream:dlq"

FLIGHT_STREAM: Final = "acp:flight_events"
FLIGHT_GROUP: Final = "acp:flight_recorder"
FLIGHT_DLQ: Final = "acp:flight_events:dlq"

GRAPH_STREAM: Final = "acp:graph_events"
GRAPH_GROUP: Final = "acp:identity_graph"
GRAPH_DLQ: Final = "acp:graph_events:dlq"

BILLING_DLQ: Final = "acp:billing_dlq"
"""List of usage events that were given up after the last retry; each item is JSON."""

SEAL_REQUESTS: Final = "acp:seal_requests"
"""List on which the gateway asks the root sealer for an immediate pass: LPUSH <tenant_id>."""

DLQ_MAX_LENGTH: Final = 10_000
"""Entries kept in a dead letter stream or list; the oldest go first."""

MANAGEMENT_TOOL: Final = "management_api"
"""Stands as the tool in the audit row of a call that executes none."""

NIL_UUID: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for "no agent" in columns that must not be null."""

ACTION_LIMIT: Final = 100
TOOL_LIMIT: Final = 255
DECISION_LIMIT: Final = 50
SESSION_LIMIT: Final = 128
REASON_LIMIT: Final = 4_000
"""Most characters of each text; longer ones are cut."""

FlightStatus = Literal["in_progress", "ok", "failed"]
Outcome = Literal["allow", "deny", "error"]


class MalformedEvent(ValueError):
    """An entry that can never be written, whatever is retried: it belongs in the dead letters."""


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated call, as it will stand in `audit_logs`.

    Args:
        tenant_id, request_id: canonical lower-case UUIDs; `request_id` is the uniqueness key of the row.
        org_id: UUID; equals `tenant_id` unless said otherwise.
        agent_id: UUID of the acting agent, `NIL_UUID` for calls without one.
        action: such as `execute_tool`, `user_login`, `rate_limited`.
        decision: such as `allow`, `block`, `deny`, `reject`.
        tool: its name, or none.
        reason: why it was decided so; free text.
        metadata: JSON object with whatever belongs to the call (status, latency, findings, risk).
        occurred_at: aware; the gateway's clock when the call was decided.
        units, cost: what a billable call costs; ignored for calls that are not billable.
    """

    tenant_id: str
    request_id: str
    action: str
    decision: str
    occurred_at: datetime
    org_id: str = ""
    agent_id: str = NIL_UUID
    tool: str | None = None
    reason: str | None = None
    metadata: dict[str, Any] = {}
    units: int = 1
    cost: float = 0.001

    @property
    def is_billable(self) -> bool:
        """Reconciliation's definition: an executed tool that was not rejected."""
        return self.action == "execute_tool" and self.decision != "reject"


class FlightStep(msgspec.Struct, frozen=True, kw_only=True):
    """The one step that is kept of an execution: what happened, and how long it took."""

    step_type: str
    status: str
    latency_ms: float | None = None
    risk_score: float | None = None
    summary: str | None = None


class FlightEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Opening (`status="in_progress"`) or closing (`ok`, `failed`) of one timeline.

    The closing event repeats what the opening one said, so that either may arrive first, alone or twice.

    Args:
        started_at, completed_at: aware; the gateway's clock.  `completed_at` only when closed.
        duration_ms: from start to completion.
        final_decision: allow, deny, block, escalate, kill, throttle, error or monitor; only when closed.
        final_risk: 0..1.
        step: kept as one row of `execution_steps`; only when closed.
    """

    tenant_id: str
    request_id: str
    status: FlightStatus
    started_at: datetime
    org_id: str = ""
    session_id: str | None = None
    agent_id: str | None = None
    tool: str | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    final_decision: str | None = None
    final_risk: float | None = None
    step: FlightStep | None = None
    metadata: dict[str, Any] = {}


class GraphEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool by an agent: two nodes and the edge between them.

    `request_id` is the uniqueness key of the edge within its tenant.
    """

    tenant_id: str
    request_id: str
    agent_id: str
    tool: str
    outcome: Outcome
    occurred_at: datetime
    org_id: str = ""
    agent_name: str | None = None
    edge_type: Literal["invokes", "reads", "writes", "delegates", "escalates"] = "invokes"
    action: str = "execute_tool"
    risk_score: float = 0.0


_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_JSON_ENCODER = msgspec.json.Encoder()
_FLIGHT_DECODER = msgspec.json.Decoder(FlightEvent)
_GRAPH_DECODER = msgspec.json.Decoder(GraphEvent)


def encode_audit(event: AuditEvent) -> dict[str, str]:
    """Give the fields of one XADD to `AUDIT_STREAM`: every column a string, null as the empty string.

    Text comes from callers, hostile ones among them: what a column cannot hold is cut or replaced here, so that no
    call can keep its own row out of the chain.
    """
    return {
        "tenant_id": event.tenant_id,
        "org_id": event.org_id or event.tenant_id,
        "agent_id": event.agent_id,
        "action": storable_text(event.action, ACTION_LIMIT),
        "tool": storable_text(event.tool or "", TOOL_LIMIT),
        "decision": storable_text(event.decision, DECISION_LIMIT),
        "reason": storable_text(event.reason or "", REASON_LIMIT),
        "metadata_json": _encode_storable(event.metadata).decode(),
        "request_id": event.request_id,
        "ts": event.occurred_at.isoformat(),
        "units": str(event.units),
        "cost": str(event.cost),
    }


def decode_audit(fields: Mapping[bytes, bytes]) -> AuditEvent:
    """Read one entry of `AUDIT_STREAM`.

    Raises:
        MalformedEvent: a required field is missing, or a value is not what its column takes.
    """
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        tenant_id = canonical_uuid(text["tenant_id"])
        return AuditEvent(
            tenant_id=tenant_id,
            org_id=canonical_uuid(text.get("org_id") or tenant_id),
            agent_id=canonical_uuid(text.get("agent_id") or NIL_UUID),
            action=_bounded(text["action"], "action", ACTION_LIMIT),
            tool=_bounded(text.get("tool", ""), "tool", TOOL_LIMIT) or None,
            decision=_bounded(text["decision"], "decision", DECISION_LIMIT),
            reason=text.get("reason") or None,
            metadata=_json_object(text.get("metadata_json") or "{}"),
            request_id=canonical_uuid(text["request_id"]),
            occurred_at=_instant(text["ts"]),
            units=int(text.get("units") or 1),
            cost=float(text.get("cost") or 0.001),
        )
    except KeyError as missing:
        raise MalformedEvent(f"audit event has no field {missing}") from missing
    except (ValueError, TypeError) as wrong:
        raise MalformedEvent(f"audit event is malformed: {wrong}") from wrong


def encode_flight(event: FlightEvent) -> dict[str, bytes]:
    """Give the fields of one XADD to `FLIGHT_STREAM`; text is cut and replaced as for the audit stream."""
    tool = None if event.tool is None else storable_text(event.tool, TOOL_LIMIT)
    session_id = None if event.session_id is None else storable_text(event.session_id, SESSION_LIMIT)
    if tool != event.tool or session_id != event.session_id:
        event = msgspec.structs.replace(event, tool=tool, session_id=session_id)
    return {"data": _encode_storable(event)}


def decode_flight(fields: Mapping[bytes, bytes]) -> FlightEvent:
    """Read one entry of `FLIGHT_STREAM`; raises `MalformedEvent`."""
    event: FlightEvent = _decode_data(fields, _FLIGHT_DECODER, "flight")
    return event


def encode_graph(event: GraphEvent) -> dict[str, bytes]:
    """Give the fields of one XADD to `GRAPH_STREAM`; text is cut and replaced as for the audit stream."""
    tool = storable_text(event.tool, TOOL_LIMIT)
    if tool != event.tool:
        event = msgspec.structs.replace(event, tool=tool)
    return {"data": _encode_storable(event)}


def decode_graph(fields: Mapping[bytes, bytes]) -> GraphEvent:
    """Read one entry of `GRAPH_STREAM`; raises `MalformedEvent`."""
    event: GraphEvent = _decode_data(fields, _GRAPH_DECODER, "graph")
    return event


def storable_text(text: str, limit: int) -> str:
    """Cut a text to `limit` characters and replace what PostgreSQL does not store: NUL and lone surrogates."""
    if len(text) > limit:
        text = text[:limit]
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def canonical_uuid(text: str) -> str:
    """Check that a text is a canonical lower-case UUID, the only spelling that compares equal everywhere.

    Raises:
        ValueError: it is not.
    """
    if _CANONICAL_UUID.fullmatch(text) is None:
        raise ValueError(f"{text[:80]!r} is not a UUID in its canonical lower-case form")
    return text


def _encode_storable(value: Any) -> bytes:
    try:
        encoded = _JSON_ENCODER.encode(value)
    except UnicodeEncodeError:
        encoded = None
    if encoded is None or b"\\u0000" in encoded:
        encoded = _JSON_ENCODER.encode(_with_storable_text(msgspec.to_builtins(value)))
    return encoded


def _with_storable_text(value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value, len(value))
    if isinstance(value, dict):
        return {_with_storable_text(name): _with_storable_text(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_storable_text(item) for item in value]
    return value


def _decode_data(fields: Mapping[bytes, bytes], decoder: msgspec.json.Decoder[Any], kind: str) -> Any:
    data = fields.get(b"data")
    if data is None:
        raise MalformedEvent(f"{kind} event has no field 'data'")
    try:
        event = decoder.decode(data)
        canonical_uuid(event.tenant_id)
        canonical_uuid(event.request_id)
    except (msgspec.MsgspecError, ValueError) as wrong:
        raise MalformedEvent(f"{kind} event is malformed: {wrong}") from wrong
    return event


def _json_object(text: str) -> dict[str, Any]:
    value = msgspec.json.decode(text)
    if not isinstance(value, dict):
        raise ValueError(f"metadata_json is a {type(value).__name__}, must be an object")
    return value


def _instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError(f"timestamp {text!r} has no time zone")
    return value.astimezone(UTC)


def _bounded(text: str, name: str, limit: int) -> str:
    if len(text) > limit:
        raise ValueError(f"{name} has {len(text)} characters, limit {limit}")
    return text
