"""The process that renders the metrics of all gateway workers, and of PostgreSQL and Redis as the platform uses them.

Owns one loopback HTTP port. The gateway passes `/metrics` on to it, so the cost of a scrape is paid here, at a lower
priority, and not in the event loop of a worker.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import psycopg
import redis
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from infra.acp import events
from infra.acp.settings import DATABASE_NAMES, Settings

logger = logging.getLogger(__name__)

#: Figures from the databases are at most this old.
KEPT_FOR_S = 2.0
STREAMS = (events.AUDIT_STREAM, events.FLIGHT_STREAM, events.GRAPH_STREAM)
DEAD_LETTER_STREAMS = (events.AUDIT_DLQ, events.FLIGHT_DLQ, events.GRAPH_DLQ)


class StoresCollector(Collector):
    """Queues, connections and memory of the stores. A store that does not answer gives no figure rather than a 0."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = redis.Redis.from_url(settings.redis_url, socket_timeout=2.0)
        self._postgres: psycopg.Connection[Any] | None = None
        self._kept: list[Metric] = []
        self._read_at = 0.0
        self._lock = threading.Lock()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() - self._read_at > KEPT_FOR_S:
                self._kept = [*self._read_redis(), *self._read_postgres()]
                self._read_at = time.monotonic()
            yield from self._kept

    def _read_redis(self) -> list[Metric]:
        try:
            pipe = self._redis.pipeline(transaction=False)
            for stream in (*STREAMS, *DEAD_LETTER_STREAMS):
                pipe.xlen(stream)
            pipe.llen(events.BILLING_DLQ)
            pipe.info()
            *lengths, billing, info = pipe.execute()
        except redis.RedisError as error:
            logger.warning("Redis gives no figures: %s", error)
            return []
        depth = GaugeMetricFamily("acp_redis_stream_depth", "Entries not yet acknowledged", labels=["stream"])
        for stream, length in zip((*STREAMS, *DEAD_LETTER_STREAMS), lengths, strict=True):
            depth.add_metric([stream], length)
        # Redis 8 has sizes beside a database, such as `db0_distrib_strings_sizes`.
        keyspace = [figures for name, figures in info.items() if re.fullmatch(r"db\d+", name)]
        keys = sum(figures["keys"] for figures in keyspace)
        expiring = sum(figures["expires"] for figures in keyspace)
        return [
            depth,
            GaugeMetricFamily("acp_billing_dlq_length", "Usage events given up", value=billing),
            GaugeMetricFamily("acp_redis_memory_bytes", "Memory that Redis uses for data", value=info["used_memory"]),
            GaugeMetricFamily(
                "acp_redis_resident_memory_bytes", "Resident memory of Redis", value=info["used_memory_rss"]
            ),
            GaugeMetricFamily("acp_redis_clients", "Connections to Redis", value=info["connected_clients"]),
            GaugeMetricFamily("acp_redis_keys", "Keys in Redis", value=keys),
            GaugeMetricFamily(
                "acp_redis_keys_without_expiry", "Keys in Redis that never expire", value=keys - expiring
            ),
        ]

    def _connected(self) -> psycopg.Connection[Any]:
        """One connection is kept: a new one costs PostgreSQL more CPU than the figures."""
        if self._postgres is None:
            self._postgres = psycopg.connect(
                self._settings.audit_dsn, connect_timeout=2, application_name="acp-metrics", autocommit=True
            )
        return self._postgres

    def _close(self) -> None:
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None

    def _read_postgres(self) -> list[Metric]:
        try:
            connection = self._connected()
            backends: list[Any] = connection.execute(
                "SELECT datname, coalesce(state, 'background'), count(*) FROM pg_stat_activity"
                " WHERE datname = ANY(%s) AND pid <> pg_backend_pid() GROUP BY 1, 2",
                [list(DATABASE_NAMES.values())],
            ).fetchall()
            sizes = connection.execute(
                "SELECT datname, pg_database_size(datname) FROM pg_database WHERE datname = ANY(%s)",
                [list(DATABASE_NAMES.values())],
            ).fetchall()
            pending, failed, oldest_s = connection.execute(
                "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'failed'),"
                " coalesce(extract(epoch FROM"
                " now() - min(created_at) FILTER (WHERE status = 'pending')), 0)::float8"
                " FROM pending_usage_events"
            ).fetchall()[0]
        except psycopg.Error as error:
            logger.warning("PostgreSQL gives no figures: %s", error)
            self._close()
            return []
        connections = GaugeMetricFamily("acp_postgres_connections", "Open connections", labels=["database", "state"])
        for database, state, count in backends:
            connections.add_metric([database, state], count)
        size = GaugeMetricFamily("acp_postgres_database_bytes", "Size on disk", labels=["database"])
        for database, size_bytes in sizes:
            size.add_metric([database], size_bytes)
        return [
            connections,
            size,
            GaugeMetricFamily("acp_outbox_pending_count", "Calls not billed yet", value=pending),
            GaugeMetricFamily("acp_outbox_failed_count", "Calls that could not be billed", value=failed),
            GaugeMetricFamily(
                "acp_outbox_oldest_pending_age_seconds", "Age of the oldest call not billed yet", value=oldest_s
            ),
        ]


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a log line each."""


def main(settings: Settings) -> int:
    """Serve until SIGTERM."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=settings.metrics_dir)  # type: ignore[no-untyped-call]
    registry.register(StoresCollector(settings))
    server = make_server(
        "127.0.0.1", settings.gateway_metrics_port, make_wsgi_app(registry), handler_class=_QuietHandler
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stop.wait()
    server.shutdown()
    thread.join()
    return 0
