"""Fixtures of the platform's tests: servers started once, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import redis

from infra.acp import schema
from soak_pipeline_tests.infra.servers import Servers, running_servers

_TABLES = "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture(scope="session")
def started_servers() -> Iterator[Servers]:
    with running_servers() as servers:
        yield servers


@pytest.fixture
def servers(started_servers: Servers) -> Servers:
    """Real PostgreSQL with the schema and no rows, and real Redis with no keys."""
    redis.Redis.from_url(started_servers.redis_url).flushall()
    for database in schema.DATABASES:
        with psycopg.connect(started_servers.dsn(database)) as connection:
            tables = ", ".join(row[0] for row in connection.execute(_TABLES).fetchall())
            connection.execute(f"TRUNCATE {tables}")
    return started_servers


@pytest.fixture
def client(servers: Servers) -> Iterator[redis.Redis]:
    opened = redis.Redis.from_url(servers.redis_url)
    yield opened
    opened.close()
