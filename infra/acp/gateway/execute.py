"""`POST /execute` and `POST /execute/{tool}`: the way of one tool call through the control plane.

Owns the order of the checks, each of which can end the call, and what every end leaves behind: an audit row, a
timeline, an edge of the graph. It decides nothing about payloads itself; see `policy.py`.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from infra.acp import clock, events, faults
from infra.acp.gateway import defects, idempotency, metrics, policy
from infra.acp.gateway.agents import TOOL_NAME
from infra.acp.gateway.directory import AgentView
from infra.acp.gateway.http import Header, Refusal, Request, Response, encode_json, is_canonical_uuid
from infra.acp.gateway.journal import append, audit_event
from infra.acp.gateway.redis_link import Command
from infra.acp.gateway.service_time import service_time_s
from infra.acp.gateway.services import Services

_TOOL_NAME = re.compile(TOOL_NAME)
_DEPRECATION: Header = (b"deprecation", b"response-field=reasons; use=findings")

#: What the engine makes of a risk below the given limit; from RISK_LIMIT of the policy on, a call is refused.
ENGINE_ACTIONS = ((0.30, "allow"), (0.50, "monitor"), (1.01, "throttle"))


@dataclass(slots=True)
class Call:
    """One tool call while it is decided. `tool` is empty until it is known; from then on there is a timeline."""

    request: Request
    body: dict[str, Any]
    agent_id: str = events.NIL_UUID
    agent: AgentView | None = None
    tool: str = ""
    risk: float = 0.0


class Stopped(Exception):
    """A check ended the call.

    `action` and `decision` go into the audit row. `outcome` is the edge of the graph to draw, or none.
    """

    def __init__(
        self,
        refusal: Refusal,
        *,
        action: str = "execute_tool",
        decision: str,
        outcome: Literal["deny", "error"] | None = None,
    ) -> None:
        super().__init__(refusal.error)
        self.refusal = refusal
        self.action = action
        self.decision = decision
        self.outcome = outcome


async def execute(services: Services, request: Request) -> Response:
    """Decide one call, run its tool, tell the workers, and answer."""
    replay = await idempotency.begin(services, request)
    if replay.cached is not None:
        return replay.cached
    try:
        response = await _decide_and_run(services, request)
    except BaseException:
        await replay.abandon()
        raise
    await replay.keep(response)
    return response


async def _decide_and_run(services: Services, request: Request) -> Response:
    call = Call(request, {})
    try:
        _refuse_killed(call)
        call.body = _body(request)
        await _resolve_agent(services, call)
        call.tool = _tool(call)
        opened = services.journal.begin(_flight_event(call, "in_progress"))
        metrics.TIMELINES_OPENED.inc()
        await defects.die_if_due(services.settings.process_name, opened)
        _apply_policy(call)
        _guard_tool(call)
        await _run(services, call)
    except Stopped as stop:
        await services.journal.commit(*_events_of_stopped(call, stop))
        metrics.TIMELINES_CLOSED.inc(1 if call.tool else 0)
        return stop.refusal.response()
    return await _finish(services, call)


def _refuse_killed(call: Call) -> None:
    if call.request.admitted.is_killed:
        raise Stopped(Refusal(403, "Security: Tenant kill switch is engaged", reason="tenant_killed"), decision="kill")


def _body(request: Request) -> dict[str, Any]:
    try:
        return request.json_object()
    except Refusal as refusal:
        raise Stopped(refusal, action="bad_request", decision="reject") from None


async def _resolve_agent(services: Services, call: Call) -> None:
    """Find the acting agent: the token's, else the header's, else the body's."""
    caller, body_agent = call.request.caller, call.body.get("agent_id")
    header_agent = call.request.header(b"x-agent-id").lower()
    if body_agent is not None and (not isinstance(body_agent, str) or not _is_agent_id(body_agent)):
        raise _bad_request("agent_id is not the id of an agent")
    if header_agent and not _is_agent_id(header_agent):
        raise _bad_request("X-Agent-ID is not the id of an agent")
    named = caller.agent_id or header_agent or (body_agent or "").lower()
    for other in (header_agent, (body_agent or "").lower()):
        if other and other != named:
            raise _blocked(403, "Security: The call names two different agents", "agent_mismatch")
    if not named:
        return
    call.agent_id = named
    call.agent = await services.directory.agent_view(caller.tenant_id, named, call.request.admitted.version)
    if call.agent is None or not call.agent.is_active:
        raise _blocked(403, f"Security: Agent {named} is not registered with this tenant", "agent_not_registered")


def _tool(call: Call) -> str:
    """The tool's name: from the header, else the path, else the body."""
    body_tool = call.body.get("tool_name") or call.body.get("tool")
    path_tool = call.request.params[0] if call.request.params else ""
    tool = call.request.header(b"x-acp-tool") or path_tool or (body_tool if isinstance(body_tool, str) else "")
    if not tool:
        raise _bad_request("No tool is named: use /execute/{tool}, X-ACP-Tool or tool_name")
    if len(tool) > 150 or not _TOOL_NAME.fullmatch(tool):
        raise _bad_request("The tool's name is not well formed")
    return tool


def _apply_policy(call: Call) -> None:
    raw = call.request.body.decode("utf-8", "replace")
    assessment = policy.assess(raw, call.body, call.request.caller.tenant_id)
    call.risk = assessment.risk
    finding = assessment.refusal
    if finding is None or faults.hits("attack_allowed", call.request.request_id, call.request.caller.tenant_id):
        return
    metrics.DENIED.labels(finding.findings[0]).inc()
    refusal = Refusal(
        finding.status,
        finding.error,
        findings=list(finding.findings),
        reason=finding.findings[0],
        policy_id=finding.policy_id,
        risk_score=finding.risk_score,
    )
    if finding.stage == "inference":
        raise Stopped(refusal, action="inference_proxy_block", decision="deny", outcome="deny")
    raise Stopped(refusal, decision="block", outcome="deny")


def _guard_tool(call: Call) -> None:
    is_allowed = call.agent is not None and call.agent.may_use(call.tool, clock.utc_now())
    if faults.hits("allowed_denied", call.request.request_id, call.request.caller.tenant_id):
        is_allowed = False
    if not is_allowed:
        raise _blocked(
            403,
            f"Security: Tool {call.tool} is not allowed for agent {call.agent_id}",
            "tool_not_allowed",
            outcome="deny",
        )


async def _run(services: Services, call: Call) -> None:
    """Run the tool: it takes the time that the request id draws."""
    settings = services.settings
    duration_s = service_time_s(
        call.request.request_id,
        median_ms=settings.service_time_median_ms,
        sigma=settings.service_time_sigma,
        seed=settings.service_time_seed,
    )
    await asyncio.sleep(duration_s + defects.delay_s(call.request))


async def _finish(services: Services, call: Call) -> Response:
    request = call.request
    action = next(name for limit, name in ENGINE_ACTIONS if call.risk < limit)
    audit = audit_event(
        request,
        action="execute_tool",
        decision=action,
        tool=call.tool,
        agent_id=call.agent_id,
        metadata={"risk": call.risk, "latency_ms": _elapsed_ms(call)},
    )
    published = [audit, _flight_event(call, "ok", decision=action), _graph_event(call, "allow")]
    if faults.hits("audit_event_dropped", request.request_id, request.caller.tenant_id):
        published.remove(audit)
    await services.journal.commit(*published)
    metrics.TIMELINES_CLOSED.inc()
    body = {
        "success": True,
        "request_id": request.request_id,
        "agent_id": call.agent_id,
        "tenant_id": request.caller.tenant_id,
        "tool": call.tool,
        "action": action,
        "risk": call.risk,
        "confidence": round(1 - call.risk / 2, 3),
        "findings": [],
        "reasons": [],
        "signals": {"inference_risk": call.risk},
        "executed_at": clock.utc_now(),
    }
    return Response(200, encode_json(body), (_DEPRECATION,))


def _events_of_stopped(call: Call, stop: Stopped) -> list[Command]:
    found = [
        audit_event(
            call.request,
            action=stop.action,
            decision=stop.decision,
            tool=call.tool or None,
            agent_id=call.agent_id,
            reason=stop.refusal.error,
            metadata={"status": stop.refusal.status, "findings": stop.refusal.extra.get("findings", [])},
        )
    ]
    if call.tool:
        found.append(_flight_event(call, "failed", decision=stop.decision))
        if stop.outcome is not None and call.agent_id != events.NIL_UUID:
            found.append(_graph_event(call, stop.outcome))
    return found


def _flight_event(call: Call, status: events.FlightStatus, decision: str | None = None) -> Command:
    request = call.request
    started_at = datetime.fromtimestamp(request.started_at, UTC)
    closed = status != "in_progress"
    step = (
        events.FlightStep(step_type="decision", status=decision, latency_ms=_elapsed_ms(call), risk_score=call.risk)
        if decision
        else None
    )
    event = events.FlightEvent(
        tenant_id=request.caller.tenant_id,
        org_id=request.caller.org_id,
        request_id=request.request_id,
        status=status,
        started_at=started_at,
        session_id=request.header(b"x-session-id")[:128] or None,
        agent_id=call.agent_id,
        tool=call.tool,
        completed_at=clock.utc_now() if closed else None,
        duration_ms=round(_elapsed_ms(call)) if closed else None,
        final_decision=decision,
        final_risk=call.risk if closed else None,
        step=step,
    )
    return append(events.FLIGHT_STREAM, events.encode_flight(event))


def _graph_event(call: Call, outcome: events.Outcome) -> Command:
    event = events.GraphEvent(
        tenant_id=call.request.caller.tenant_id,
        org_id=call.request.caller.org_id,
        request_id=call.request.request_id,
        agent_id=call.agent_id,
        agent_name=call.agent.name if call.agent else None,
        tool=call.tool,
        outcome=outcome,
        occurred_at=clock.utc_now(),
        risk_score=call.risk,
    )
    return append(events.GRAPH_STREAM, events.encode_graph(event))


def _elapsed_ms(call: Call) -> float:
    return round((time.perf_counter() - call.request.started_clock) * 1000, 3)


def _is_agent_id(text: str) -> bool:
    return is_canonical_uuid(text.lower()) and text != events.NIL_UUID


def _bad_request(error: str) -> Stopped:
    return Stopped(Refusal(400, error), action="bad_request", decision="reject")


def _blocked(status: int, error: str, finding: str, outcome: Literal["deny"] | None = None) -> Stopped:
    return Stopped(Refusal(status, error, findings=[finding], reason=finding), decision="block", outcome=outcome)
