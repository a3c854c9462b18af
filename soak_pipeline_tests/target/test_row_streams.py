"""Streams of rows from a real PostgreSQL: all of them, in their order, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql

from soak_pipeline.target.databases import Unreadable, reading
from soak_pipeline.target.row_streams import record_batches
from soak_pipeline_tests.infra.servers import Servers

Connection = psycopg.Connection[tuple[Any, ...]]
NUMBERS = "FROM generate_series(1, 10000) AS n"


@pytest.fixture
def connection(started_stores: Servers) -> Iterator[Connection]:
    with reading({"audit": started_stores.dsn("acp_audit")}, "audit") as connection:
        yield connection


def _stream(connection: Connection, query: str, batch_bytes: int = 4096) -> list[list[dict[str, Any]]]:
    return [batch.to_pylist() for batch in record_batches(connection, sql.SQL(query).format(), batch_bytes)]


def test_rows_come_in_batches_of_about_a_size(connection: Connection) -> None:
    batches = _stream(connection, f"SELECT n {NUMBERS}")
    assert [row["n"] for batch in batches for row in batch] == list(range(1, 10001))
    assert 4 < len(batches) < 100
    assert len(_stream(connection, f"SELECT n {NUMBERS}", 2**30)) == 1


def test_no_rows_are_no_batches(connection: Connection) -> None:
    assert _stream(connection, "SELECT 1 WHERE false") == []


def test_a_failure_in_the_middle_is_raised_in_the_servers_words(connection: Connection) -> None:
    with pytest.raises(psycopg.Error, match=r"^division by zero$"):
        _stream(connection, f"SELECT n / (n - 9000) {NUMBERS}")


def test_a_statement_that_cannot_be_run_is_raised_in_the_servers_words(connection: Connection) -> None:
    with pytest.raises(psycopg.Error, match=r'^relation "nothing" does not exist$'):
        _stream(connection, "SELECT * FROM nothing")


def test_a_failure_makes_the_database_unreadable(started_stores: Servers) -> None:
    dsns = {"audit": started_stores.dsn("acp_audit")}
    with pytest.raises(Unreadable, match=r"^audit database: division by zero$"), reading(dsns, "audit") as connection:
        _stream(connection, "SELECT 1 / 0")


def test_the_time_limit_of_the_connection_holds(connection: Connection) -> None:
    connection.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.Error, match="statement timeout"):
        _stream(connection, f"SELECT pg_sleep(n / 100.0)::text {NUMBERS}")


def test_the_stream_sees_what_the_connection_sees(connection: Connection, started_stores: Servers) -> None:
    with psycopg.connect(started_stores.dsn("acp_audit"), autocommit=True) as other:
        other.execute("CREATE TABLE few AS SELECT 1 AS n")
        try:
            connection.rollback()
            assert connection.execute("SELECT n FROM few").fetchall() == [(1,)]
            other.execute("INSERT INTO few VALUES (2)")
            assert _stream(connection, "SELECT n FROM few") == [[{"n": 1}]]
        finally:
            connection.rollback()
            other.execute("DROP TABLE few")


def test_the_stream_cannot_write(connection: Connection) -> None:
    with pytest.raises(psycopg.Error, match="read-only transaction"):
        _stream(connection, "SELECT setval(pg_get_serial_sequence('audit_logs', 'chain_sequence'), 1)")


def test_a_reader_that_stops_early_ends_the_statement(connection: Connection) -> None:
    query = sql.SQL("SELECT n, repeat('x', 1000) FROM generate_series(1, 1000000) AS n").format()
    # An iterator that is a generator, so that it can be closed.
    with closing(cast("Any", record_batches(connection, query, 4096))) as stream:
        assert len(next(stream)) > 0
    assert connection.execute("SELECT 1").fetchone() == (1,)
