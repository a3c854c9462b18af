"""One PostgreSQL and one Redis for the tests of this folder, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from infra.acp import schema
from soak_pipeline_tests.target import servers


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    with servers.postgres() as dsn:
        schema.apply(lambda database: make_conninfo(dsn, dbname=database))
        yield dsn


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.redis_server() as url:
        yield url


@pytest.fixture
def dsns(postgres_dsn: str) -> dict[str, str]:
    """DSNs as a resolved target has them, every table empty."""
    names = {
        "identity": "acp_identity",
        "audit": "acp_audit",
        "usage": "acp_usage",
        "flight_recorder": "acp_flight_recorder",
        "identity_graph": "acp_identity_graph",
    }
    dsns = {database: make_conninfo(postgres_dsn, dbname=name) for database, name in names.items()}
    for dsn in dsns.values():
        with psycopg.connect(dsn, autocommit=True) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            connection.execute("TRUNCATE " + ", ".join(name for (name,) in tables))
    return dsns


@pytest.fixture
def empty_redis_url(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url
