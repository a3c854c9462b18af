"""One PostgreSQL and one Redis for the tests of this folder, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import redis

from soak_pipeline_tests.infra.redis_programs import EMBEDDED, program_of
from soak_pipeline_tests.infra.servers import Servers, running_redis, running_servers

_NAMES = {
    "identity": "acp_identity",
    "audit": "acp_audit",
    "usage": "acp_usage",
    "flight_recorder": "acp_flight_recorder",
    "identity_graph": "acp_identity_graph",
}


@pytest.fixture(scope="session")
def started_stores() -> Iterator[Servers]:
    with running_servers() as servers:
        yield servers


@pytest.fixture
def dsns(started_stores: Servers) -> dict[str, str]:
    """DSNs as a resolved target has them, every table empty."""
    dsns = {database: started_stores.dsn(name) for database, name in _NAMES.items()}
    for dsn in dsns.values():
        with psycopg.connect(dsn, autocommit=True) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            connection.execute("TRUNCATE " + ", ".join(name for (name,) in tables))
    return dsns


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of the embedded server; in tests marked `every_redis`, of each server in turn."""
    with running_redis(program_of(getattr(request, "param", EMBEDDED))) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of a Redis or Valkey without keys."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server
