"""PostgreSQL and Redis as telemetry.

Owns the queries of the servers themselves. One connection per store is kept open, and is left out of the counts.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any

import psycopg
import redis

from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.model.series import PROCESS_START_SERIES, Source
from soak_pipeline.target.config import ResolvedTarget
from soak_pipeline.target.databases import APPLICATION_NAME, connect
from soak_pipeline.target.queues import REDIS_TIMEOUT_S, dead_letter_lengths, stream_states
from soak_pipeline.telemetry.source import Reading

_CONNECTIONS = """
    SELECT coalesce(state, 'unknown'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name <> %s GROUP BY 1
"""
_SERVER = "SELECT extract(epoch FROM pg_postmaster_start_time())::float8, pg_database_size(current_database())::float8"
_TABLE_SIZES = "SELECT name, pg_total_relation_size(to_regclass(name))::float8 FROM unnest(%s::text[]) AS name"
_STATEMENT_TIMEOUT_MS = 4_000
_DATABASE = re.compile(r"db\d+")
"""Name of a database in INFO. Redis 8 has sizes beside it, such as `db0_distrib_strings_sizes`."""


class DatabaseSource:
    """One database; its tables are owners of their own sizes.

    Args:
        dialect: the platform's words.
        dsn: of it.
        database: `identity`, `audit`, `usage`, `flight_recorder` or `identity_graph`; owner of its series.
    """

    def __init__(self, dialect: Dialect, dsn: str, database: str) -> None:
        self.name = f"database {database}"
        self._tables = dialect.tables[database]
        self._outbox = dialect.outbox
        self._dsn = dsn
        self._database = database
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def read(self) -> list[Reading]:
        """Connections by state, sizes, start of the server, and the outbox.

        Raises:
            psycopg.Error: the database does not answer; the next read connects anew.
        """
        try:
            return self._read(self._connected())
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = connect(self._dsn, autocommit=True)
            self._connection.execute(f"SET statement_timeout = {_STATEMENT_TIMEOUT_MS}")
        return self._connection

    def _read(self, connection: psycopg.Connection[tuple[Any, ...]]) -> list[Reading]:
        by_state: Counter[str] = Counter(dict(connection.execute(_CONNECTIONS, [APPLICATION_NAME]).fetchall()))
        values: dict[str, float] = {
            "db_connections": by_state.total(),
            "db_connections_active": by_state["active"],
            "db_connections_idle": by_state["idle"],
            "db_connections_idle_in_transaction": by_state["idle in transaction"],
        }
        row = connection.execute(_SERVER).fetchone()
        if row:
            values[PROCESS_START_SERIES], values["database_bytes"] = row
        tables = [*self._tables.appended, *self._tables.small]
        sizes = dict(connection.execute(_TABLE_SIZES, [tables]).fetchall())
        if sizes.get(self._outbox.table):
            row = connection.execute(self._outbox.totals).fetchone()
            if row:
                values["outbox_pending"], values["outbox_failed"], values["outbox_oldest_pending_age_s"] = row
        readings = [Reading(Source.DATABASE, self._database, series, float(value)) for series, value in values.items()]
        for table, size in sizes.items():
            series = "table_bytes" if table in self._tables.small else "appended_table_bytes"
            if size is not None:
                readings.append(Reading(Source.DATABASE, f"{self._database} {table}", series, float(size)))
        return readings


class RedisSource:
    """The platform's Redis; streams and dead letter queues are owners of their own series.

    Args:
        dialect: the platform's words.
        url: of it; a secret.
    """

    name = "redis"

    def __init__(self, dialect: Dialect, url: str) -> None:
        self._words = dialect.queues
        self._client = redis.Redis.from_url(url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S)
        self._server = ("", 0.0)

    def read(self) -> list[Reading]:
        """Memory, keys, streams with their lag, dead letters.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        info: Any = self._client.info()
        keyspace = [value for name, value in info.items() if _DATABASE.fullmatch(name)]
        keys = sum(value["keys"] for value in keyspace)
        values = {
            "redis_memory_bytes": info["used_memory"],
            "redis_rss_bytes": info["used_memory_rss"],
            "redis_keys": keys,
            "redis_keys_without_expiry": keys - sum(value["expires"] for value in keyspace),
            "redis_connections": info["connected_clients"],
            PROCESS_START_SERIES: self._started_at(str(info["run_id"]), float(info["uptime_in_seconds"])),
        }
        readings = [Reading(Source.REDIS, "redis", series, float(value)) for series, value in values.items()]
        for stream, state in stream_states(self._client, self._words).items():
            readings.append(Reading(Source.REDIS, stream, "stream_length", float(state.length)))
            readings.append(Reading(Source.REDIS, stream, "consumer_lag", float(state.lag)))
            readings.append(Reading(Source.REDIS, stream, "pending_entries", float(state.pending)))
        readings += [
            Reading(Source.REDIS, name, "dead_letter_length", float(length))
            for name, length in dead_letter_lengths(self._client, self._words).items()
        ]
        return readings

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _started_at(self, run_id: str, uptime_s: float) -> float:
        """Start of the server (unix seconds), the same at every read until another server answers."""
        if self._server[0] != run_id:
            self._server = (run_id, round(time.time() - uptime_s))
        return self._server[1]


def store_sources(resolved: ResolvedTarget) -> list[DatabaseSource | RedisSource]:
    """A source for each store that the target gives access to."""
    sources: list[DatabaseSource | RedisSource] = [
        DatabaseSource(resolved.dialect, dsn, name) for name, dsn in resolved.dsns.items()
    ]
    if resolved.redis_url:
        sources.append(RedisSource(resolved.dialect, resolved.redis_url))
    return sources
