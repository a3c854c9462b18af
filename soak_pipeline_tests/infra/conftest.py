"""Fixtures of the platform's tests: servers started once, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
import redis

from infra.acp import schema
from soak_pipeline_tests.infra.redis_programs import EMBEDDED, program_of
from soak_pipeline_tests.infra.servers import Servers, running_redis, running_servers

_TABLES = "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture(scope="session")
def started_servers() -> Iterator[Servers]:
    with running_servers() as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest, started_servers: Servers) -> Iterator[str]:
    """URL of the embedded server; in tests marked `every_redis`, of each server in turn."""
    kind = getattr(request, "param", EMBEDDED)
    if kind == EMBEDDED:
        yield started_servers.redis_url
        return
    with running_redis(program_of(kind)) as url:
        yield url


@pytest.fixture
def servers(started_servers: Servers, redis_server: str) -> Servers:
    """Real PostgreSQL with the schema and no rows, and a real Redis or Valkey with no keys."""
    redis.Redis.from_url(redis_server).flushall()
    for database in schema.DATABASES:
        with psycopg.connect(started_servers.dsn(database)) as connection:
            tables = ", ".join(row[0] for row in connection.execute(_TABLES).fetchall())
            connection.execute(f"TRUNCATE {tables}")
    return replace(started_servers, redis_url=redis_server)


@pytest.fixture
def client(servers: Servers) -> Iterator[redis.Redis]:
    opened = redis.Redis.from_url(servers.redis_url)
    yield opened
    opened.close()
