"""What the gateway tells the workers of a call, and when it may answer.

Owns turning a finished call into events and appending them to the streams. A call is answered only after Redis has
taken its events, so an answered call is never lost, whatever happens to this process afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from infra.acp import clock, events
from infra.acp.gateway.http import Request
from infra.acp.gateway.redis_link import Command, RedisLink


class Journal:
    """Appends events to the streams."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def commit(self, *commands: Command) -> None:
        """Append events in one write and wait until Redis has all of them.

        Raises:
            RedisUnavailable: Redis did not take them; the call must not be answered as done.
        """
        await self._link.execute_all(commands)

    def begin(self, command: Command) -> asyncio.Future[Any]:
        """Append one event without waiting; a later `commit` returns only after this one was taken as well."""
        future = self._link.execute(command[0], *command[1:])
        future.add_done_callback(_retrieve)
        return future


def audit_event(
    request: Request,
    *,
    action: str,
    decision: str,
    tool: str | None,
    agent_id: str = events.NIL_UUID,
    reason: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Command:
    """The audit row of an authenticated call, in the chain of the caller's own tenant."""
    caller = request.caller
    event = events.AuditEvent(
        tenant_id=caller.tenant_id,
        org_id=caller.org_id,
        request_id=request.request_id,
        agent_id=agent_id,
        action=action,
        decision=decision,
        tool=tool,
        reason=reason,
        metadata=metadata or {},
        occurred_at=clock.utc_now(),
    )
    return append(events.AUDIT_STREAM, events.encode_audit(event))


def management_event(request: Request, status: int) -> Command:
    """The audit row of a call to anything but an execution; it is billed as one."""
    return audit_event(
        request,
        action="execute_tool",
        decision="allow" if status < 400 else "error",
        tool=events.MANAGEMENT_TOOL,
        metadata={"method": request.method, "path": request.path[:200], "status": status},
    )


def append(stream: str, fields: Mapping[str, str | bytes]) -> Command:
    """The XADD of one event."""
    return ("XADD", stream, "*", *(part for field in fields.items() for part in field))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Keep asyncio from complaining of an error that the later commit reports."""
    if not future.cancelled():
        future.exception()
