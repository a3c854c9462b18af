"""The gateway as an ASGI application: what happens to every request before and after its handler.

Owns the order of the general checks (size, token, role, quota), the audit rows of what they refuse, the translation of
errors into answers, and the measurement of every answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any

import asyncpg
import hiredis

from infra.acp import clock, faults
from infra.acp.gateway import metrics, roles
from infra.acp.gateway.audit_reads import AuditReads
from infra.acp.gateway.defects import Defects, read_delay_s
from infra.acp.gateway.fair_slots import FairSlots, QueueFull
from infra.acp.gateway.http import (
    Receive,
    Refusal,
    Request,
    Response,
    Scope,
    Send,
    is_canonical_uuid,
    parse_uuid,
    read_body,
    send_response,
)
from infra.acp.gateway.journal import audit_event, management_event
from infra.acp.gateway.redis_link import RedisUnavailable
from infra.acp.gateway.routes import Access, Route, Router, routes
from infra.acp.gateway.services import Services
from infra.acp.gateway.status import RecentLatency, Status
from infra.acp.gateway.tokens import InvalidToken, Principal
from infra.acp.switches import CLOSED_WHEN_STRICT

logger = logging.getLogger(__name__)

_AUTHENTICATE = ((b"www-authenticate", b'Bearer realm="aegis"'),)
#: Redis or PostgreSQL does not answer, is starting, stopping, or too slow.
_STORE_UNREACHABLE = (
    RedisUnavailable,
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    # What asyncpg says of a connection that is cut at the very moment in which it is used again.
    asyncpg.InternalClientError,
)
_RETRY_SOON = ((b"retry-after", b"1"),)
_RETRY_LATER = ((b"retry-after", b"5"),)


class Gateway:
    """The application of one worker process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._latency = RecentLatency()
        self._metrics = metrics.RequestMetrics()
        self.audit = AuditReads(services)
        self._router = Router(routes(self.audit, Status(services, self._latency)))
        self.defects = Defects(services)
        self.inflight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway speaks HTTP only, not {scope['type']}")
        request = _request_of(scope)
        found = self._router.find(request.method, request.path)
        template = found[0].template if found else "unmatched"
        self.inflight += 1
        try:
            response = await self._answer(request, found, receive)
            response.headers = (*response.headers, (b"x-request-id", request.request_id.encode()))
            if faults.any_set():
                response = await self.defects.before_answer(request, response)
            await send_response(send, response)
        finally:
            self.inflight -= 1
        ended = time.perf_counter()
        duration_s = ended - request.started_clock
        tenant_id = request.principal.tenant_id if request.principal else ""
        self._metrics.answered(tenant_id, request.method, template, response.status, duration_s)
        if request.principal is not None:
            self._latency.add(ended, duration_s)

    async def _answer(
        self, request: Request, found: tuple[Route, tuple[str, ...]] | None, receive: Receive
    ) -> Response:
        try:
            await self._read_body(request, receive)
            if found is None:
                raise self._no_route(request)
            route, request.params = found
            if route.access is Access.PUBLIC:
                return await route.handler(self._services, request)
            return await self._answer_in_slot(request, route)
        except Refusal as refusal:
            return refusal.response()
        except _STORE_UNREACHABLE as error:
            logger.warning("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
            unreachable = {"category": "transport_failure"}
            return Refusal(503, "Service unavailable", headers=_RETRY_LATER, meta=unreachable).response()
        except hiredis.ReplyError as error:
            logger.error("%s %s: Redis refused: %s", request.method, request.path, error)
            return Refusal(
                503, "Service unavailable", headers=_RETRY_LATER, meta={"category": "storage_refused"}
            ).response()
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return Refusal(500, "Internal server error").response()

    async def _answer_in_slot(self, request: Request, route: Route) -> Response:
        """Answer a protected call in one of the slots that the tenants share.

        The slot is taken before anything costly is done, so that the calls of a tenant that asks too much wait where
        they cost nothing. A call that gets no slot leaves no trace but its answer. A call that reads rows gives its
        slot back once it is admitted: what it waits for is the database, and executions need not wait with it.
        """
        request.principal = self._authenticate(request)
        request.tenant_id = tenant_id = request.principal.tenant_id
        slots = self.defects.slots()
        if not slots.try_acquire(tenant_id):
            await self._wait_for_slot(slots, tenant_id)
        try:
            await self._admit(request, route)
            if route.access is Access.EXECUTE:
                _fail_in_bursts(request)
                return await route.handler(self._services, request)
            if not route.reads_rows:
                return await self._manage(request, route)
        finally:
            slots.release(tenant_id)
        return await self._manage(request, route)

    async def _wait_for_slot(self, slots: FairSlots, tenant_id: str) -> None:
        limit_s = self._services.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await slots.wait(tenant_id)
        except QueueFull as error:
            metrics.RATE_LIMITED.labels(self._metrics.label(tenant_id), "queue").inc()
            raise Refusal(429, f"Rate limit exceeded: {error}", headers=_RETRY_SOON) from None
        except TimeoutError:
            error_text = f"Service unavailable: no slot within {limit_s} s"
            raise Refusal(503, error_text, headers=_RETRY_SOON, meta={"category": "saturated"}) from None

    async def _read_body(self, request: Request, receive: Receive) -> None:
        """Read the body, unless it is too large: that is refused before anything else is looked at."""
        limit = self._services.settings.max_payload_bytes
        declared = request.headers.get(b"content-length")
        if declared is None and b"transfer-encoding" not in request.headers:
            return
        body = None if declared is not None and int(declared) > limit else await read_body(receive, limit)
        if body is None:
            raise Refusal(413, "Payload exceeds absolute gateway limit", headers=((b"x-acp-audit-action", b"reject"),))
        request.body = body

    def _no_route(self, request: Request) -> Refusal:
        allowed = self._router.allowed_methods(request.path)
        if allowed:
            return Refusal(405, "Method not allowed", headers=((b"allow", ", ".join(allowed).encode()),))
        return Refusal(404, "Not found")

    async def _admit(self, request: Request, route: Route) -> None:
        """Ask for a token that is not revoked, the role, room in the tenant's limits, and the tenant to act on."""
        caller = request.caller
        admission = await self._services.gate.admit(caller)
        if admission.outcome == "load":
            if not await self._services.directory.load_limits(caller.tenant_id):
                raise _unauthorized("unknown_tenant")
            admission = await self._services.gate.admit(caller)
        if admission.outcome == "token":
            raise _unauthorized("revoked")
        request.admission = admission
        roles.require(caller, route.role)
        self._refuse_closed(route)
        if faults.hits("throttle_storm", request.request_id, caller.tenant_id):
            await self._refuse_limited(request, "rps", 1.0)
        if admission.outcome != "ok" and not (admission.outcome == "rps" and faults.active("fair_sharing_off")):
            await self._refuse_limited(request, admission.outcome, admission.retry_after_s)
        await self._choose_tenant(request, route)

    def _refuse_closed(self, route: Route) -> None:
        if self._services.switches.rbac_strict == "on" and (route.method, route.template) in CLOSED_WHEN_STRICT:
            raise Refusal(403, "Forbidden", detail="no role may do this in this deployment")

    def _authenticate(self, request: Request) -> Principal:
        token = _bearer(request)
        if not token:
            raise _unauthorized("missing")
        try:
            return self._services.tokens.check(token)
        except InvalidToken as error:
            raise _unauthorized(str(error)) from None

    async def _refuse_limited(self, request: Request, limit: str, retry_after_s: float) -> None:
        retry_s = max(1, min(86_400, int(retry_after_s + 0.999)))
        metrics.RATE_LIMITED.labels(self._metrics.label(request.caller.tenant_id), limit).inc()
        reason = f"limit {limit} of the tenant is used up"
        await self._services.journal.commit(
            audit_event(request, action="rate_limited", decision="deny", tool=None, reason=reason)
        )
        raise Refusal(
            429,
            "rate_limited",
            headers=((b"retry-after", str(retry_s).encode()),),
            limit_type=limit,
            reset_at=int(clock.now_s()) + retry_s,
            meta={"category": "quota"},
        )

    async def _choose_tenant(self, request: Request, route: Route) -> None:
        """Take the tenant that X-Tenant-ID names, which must be the caller's own unless it administers the platform."""
        caller, named = request.caller, request.header(b"x-tenant-id")
        if named in ("", caller.tenant_id):
            return
        may_choose = route.access is Access.MANAGEMENT and roles.is_platform_admin(caller)
        if not may_choose:
            await self._services.journal.commit(
                audit_event(
                    request,
                    action="auth_failure",
                    decision="deny",
                    tool=None,
                    reason="X-Tenant-ID names another tenant",
                )
            )
            raise Refusal(403, "Tenant mismatch detected")
        request.tenant_id = parse_uuid(named, "X-Tenant-ID", status=400)

    async def _manage(self, request: Request, route: Route) -> Response:
        """Answer a call that is no execution, and write its audit row."""
        try:
            if route.reads_rows:
                if faults.any_set():
                    await asyncio.sleep(read_delay_s(request))
                async with self._services.read_slots.held(request.caller.tenant_id):
                    response = await route.handler(self._services, request)
            else:
                response = await route.handler(self._services, request)
        except Refusal as refusal:
            response = refusal.response()
        except QueueFull as error:
            response = Refusal(429, f"Rate limit exceeded: {error}", headers=_RETRY_SOON).response()
        await self._services.journal.commit(management_event(request, response.status))
        return response


def _fail_in_bursts(request: Request) -> None:
    fault = faults.active("errors_5xx")
    if fault and fault.is_bursting() and fault.picks(request.request_id, request.caller.tenant_id):
        raise Refusal(500, "Internal server error")


def _request_of(scope: Scope) -> Request:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    given_id = headers.get(b"x-request-id", b"").decode("latin-1")
    client: Any = scope.get("client")
    return Request(
        method=scope["method"],
        path=scope["path"],
        headers=headers,
        query_string=scope["query_string"],
        client=client[0] if client else "",
        started_at=clock.now_s(),
        started_clock=time.perf_counter(),
        # An id that is no canonical UUID could not become the key of the audit row, so the call gets one of ours.
        request_id=given_id if is_canonical_uuid(given_id) else str(uuid.uuid4()),
    )


def _bearer(request: Request) -> str:
    """The token of the Authorization header, else of the cookie."""
    authorization = request.header(b"authorization")
    if authorization:
        scheme, _, token = authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
    for part in request.header(b"cookie").split(";"):
        name, _, value = part.strip().partition("=")
        if name == "acp_token":
            return value
    return ""


def _unauthorized(reason: str) -> Refusal:
    metrics.AUTH_FAILURES.labels(reason).inc()
    return Refusal(401, "Unauthorized", headers=_AUTHENTICATE)
