"""The public handlers: health, status with latency and queues, and the metrics.

Owns the recent latency of this worker and the queue block. The figures of the queues are shared by all who ask within
a short time.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections import Counter, deque
from typing import Any

import asyncpg

from infra.acp import clock, events, faults
from infra.acp.gateway.http import Refusal, Request, Response, bare
from infra.acp.gateway.redis_link import RedisUnavailable
from infra.acp.gateway.services import Services

VERSION = "1.0.0"
LATENCY_WINDOW_S = 60
REDIS_PING_TIMEOUT_S = 0.2
QUEUES_KEPT_FOR_S = 2.0
#: Ratio of two latencies that are told apart.
LATENCY_STEP = 1.02
_LOG_STEP = math.log(LATENCY_STEP)

#: From these lengths on a queue counts as under pressure.
PRESSURE = {
    "audit_stream_length": 12_000,
    "billing_dlq_length": 100,
    "audit_dlq_length": 100,
    "outbox_pending": 1_000,
    "outbox_failed": 100,
}
LATENCY_PRESSURE_MS = 1_500


class RecentLatency:
    """The latencies of this worker's newest requests: counts by latency for each of the last seconds.

    Latencies are told apart by LATENCY_STEP, so the percentiles are right to that, and a report costs as much after an
    hour at any rate as after a minute.
    """

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Counter[int]]] = deque()

    def add(self, at: float, duration_s: float) -> None:
        """Add a request that ended at `at`, monotonic seconds."""
        second = int(at)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
            while self._seconds[0][0] <= second - LATENCY_WINDOW_S:
                self._seconds.popleft()
        self._seconds[-1][1][round(math.log(max(duration_s, 1e-6)) / _LOG_STEP)] += 1

    def report(self) -> dict[str, Any]:
        """Percentiles of the last LATENCY_WINDOW_S seconds, milliseconds."""
        since = int(time.perf_counter()) - LATENCY_WINDOW_S
        counts: Counter[int] = Counter()
        for second, of_second in self._seconds:
            if second > since:
                counts.update(of_second)
        total = counts.total()
        report: dict[str, Any] = {"scope": "gateway_internal", "window_seconds": LATENCY_WINDOW_S}
        for name, share in (("p50_ms", 0.50), ("p95_ms", 0.95), ("p99_ms", 0.99)):
            report[name] = _percentile_ms(counts, math.ceil(share * total)) if total else None
        return report | {"request_count": total, "computed_at": clock.utc_now()}


def _percentile_ms(counts: Counter[int], rank: int) -> float:
    """The latency of the request of a rank, from 1, in the order of latency."""
    passed = 0
    for step in sorted(counts):
        passed += counts[step]
        if passed >= rank:
            return round(math.exp(step * _LOG_STEP) * 1000, 3)
    raise ValueError(f"rank {rank} is beyond the {passed} requests counted")


class Status:
    """The public handlers of one worker."""

    def __init__(self, services: Services, latency: RecentLatency) -> None:
        self._services = services
        self._latency = latency
        self._started = time.monotonic()
        self._queues: dict[str, Any] = {}
        self._queues_at = 0.0
        self._reading = asyncio.Lock()

    async def health(self, services: Services, request: Request) -> Response:
        """GET /health: 200 while this worker can serve."""
        try:
            async with asyncio.timeout(REDIS_PING_TIMEOUT_S):
                await services.link.execute("PING")
        except (RedisUnavailable, TimeoutError):
            return bare(
                {"status": "unhealthy", "service": "gateway", "reason": "redis_unreachable", "version": VERSION},
                status=503,
            )
        return bare({"status": "healthy", "service": "gateway", "version": VERSION})

    async def status(self, services: Services, request: Request) -> Response:
        """GET /status: this worker's latency, the parts it depends on, and the queues."""
        components = await self._components()
        latency = self._latency.report()
        down = sum(1 for state in components.values() if state["status"] != "healthy")
        return bare(
            {
                "status": "operational" if not down else "partial_outage",
                "components": components,
                "uptime_seconds": round(time.monotonic() - self._started, 3),
                "latency": latency,
                "p95_latency_ms": latency["p95_ms"],
                "services": {
                    "total": len(components),
                    "healthy": len(components) - down,
                    "degraded": 0,
                    "unreachable": down,
                },
                "queues": await self._queue_block(),
                "version": VERSION,
                "as_of": clock.utc_now(),
            }
        )

    async def system_health(self, services: Services, request: Request) -> Response:
        """GET /system/health: the parts, the queues, and whether any is under pressure."""
        components = await self._components()
        queues = await self._queue_block()
        latency = self._latency.report()
        down = [name for name, state in components.items() if state["status"] != "healthy"]
        pressed = [name for name, limit in PRESSURE.items() if (queues.get(name) or 0) > limit]
        slow = (latency["p95_ms"] or 0) > LATENCY_PRESSURE_MS
        status = "operational"
        if down:
            status = "major_outage" if len(down) == len(components) else "partial_outage"
        elif pressed or slow:
            status = "degraded_performance"
        return bare(
            {
                "status": status,
                "healthy": len(components) - len(down),
                "total": len(components),
                "summary": {
                    "down_services": down,
                    "queue_pressure": pressed,
                    "latency_pressure": slow,
                    "p95_latency_ms": latency["p95_ms"],
                },
                "latency": latency,
                "services": components,
                "gateway": {"process": services.settings.process_name, "version": VERSION},
                "queues": queues,
                "ts": clock.utc_now(),
            }
        )

    async def metrics(self, services: Services, request: Request) -> Response:
        """GET /metrics: of all workers, rendered by the metrics process."""
        settings = services.settings
        given = request.header(b"x-prometheus-secret")
        if settings.prometheus_secret and not hmac.compare_digest(given.encode(), settings.prometheus_secret.encode()):
            raise Refusal(401, "Unauthorized")
        if faults.active("metrics_gone"):
            raise Refusal(503, "Service unavailable")
        if not settings.gateway_metrics_port:
            raise Refusal(503, "No metrics process is configured: set ACP_GATEWAY_METRICS_PORT")
        try:
            async with asyncio.timeout(5.0):
                body = await _fetch_metrics(settings.gateway_metrics_port)
        except (OSError, TimeoutError, ValueError) as error:
            raise Refusal(503, f"The metrics process does not answer: {error}") from None
        return Response(200, body, content=(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"))

    async def _components(self) -> dict[str, dict[str, Any]]:
        async def probe(name: str, check: Any) -> tuple[str, dict[str, Any]]:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(2.0):
                    await check
            except (RedisUnavailable, TimeoutError, OSError, asyncpg.PostgresError):
                return name, {"status": "unreachable", "latency_ms": None}
            return name, {"status": "healthy", "latency_ms": round((time.perf_counter() - began) * 1000, 3)}

        probes = [probe("redis", self._ping_redis())]
        probes += [probe(f"postgres_{name}", pool.fetchval("SELECT 1")) for name, pool in self._services.pools.items()]
        return dict(await asyncio.gather(*probes))

    async def _ping_redis(self) -> None:
        await self._services.link.execute("PING")

    async def _queue_block(self) -> dict[str, Any]:
        async with self._reading:
            if time.monotonic() - self._queues_at > QUEUES_KEPT_FOR_S:
                self._queues = await read_queues(self._services)
                self._queues_at = time.monotonic()
        return self._queues


async def read_queues(services: Services) -> dict[str, Any]:
    """How much waits where. A queue that cannot be read is null, never 0."""
    queues: dict[str, Any] = dict.fromkeys(
        ("audit_stream_length", "audit_consumer_lag", "audit_dlq_length", "flight_stream_length", "graph_stream_length",
         "billing_retry_queue", "billing_dlq_length", "outbox_pending", "outbox_failed",
         "outbox_oldest_pending_age_seconds")
    )  # fmt: skip
    try:
        lengths = [
            services.link.execute("XLEN", stream)
            for stream in (events.AUDIT_STREAM, events.AUDIT_DLQ, events.FLIGHT_STREAM, events.GRAPH_STREAM)
        ]
        billing = services.link.execute("LLEN", events.BILLING_DLQ)
        audit, audit_dlq, flight, graph = [int(await length) for length in lengths]
        # An entry is removed once it is acknowledged, so the lag of the consumers is the length of the stream.
        queues |= {"audit_stream_length": audit, "audit_consumer_lag": audit, "audit_dlq_length": audit_dlq}
        queues |= {
            "flight_stream_length": flight,
            "graph_stream_length": graph,
            "billing_dlq_length": int(await billing),
        }
    except RedisUnavailable:
        pass
    try:
        row = await services.pools["audit"].fetchrow(
            "SELECT count(*) FILTER (WHERE status = 'pending') AS pending,"
            " count(*) FILTER (WHERE status = 'failed') AS failed,"
            " count(*) FILTER (WHERE status = 'pending' AND retry_count > 0) AS retrying,"
            " extract(epoch FROM now() - min(created_at) FILTER (WHERE status = 'pending'))::float8 AS oldest_s"
            " FROM pending_usage_events"
        )
        queues |= {
            "outbox_pending": row["pending"],
            "outbox_failed": row["failed"],
            "billing_retry_queue": row["retrying"],
        }
        queues["outbox_oldest_pending_age_seconds"] = row["oldest_s"] or 0.0
    except (OSError, TimeoutError, asyncpg.PostgresError):
        pass
    return queues


async def _fetch_metrics(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator or b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
        raise ValueError("it did not answer 200")
    return body
