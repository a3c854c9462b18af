"""Read-only connections to the platform's databases, streams of rows, and what becomes of their errors.

Owns connecting, time limits and the wording of failures. Never writes, and never lets a password into a message.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import psycopg.conninfo
import psycopg.errors
from psycopg import sql
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 120.0
SILENCE_TIMEOUTS = 2.0
SILENCE_SLACK_S = 30.0
"""A connection lasts at most `SILENCE_TIMEOUTS` statement timeouts and this (seconds), whatever the server does."""

#: For statements that stream a whole table: a thousand rows per second would still bring 3.6 million.
STREAM_TIMEOUT_S = 3600.0
APPLICATION_NAME = "soak-pipeline"
_TITLES = {
    "identity": "identity database",
    "audit": "audit database",
    "usage": "usage database",
    "flight_recorder": "flight recorder database",
    "identity_graph": "identity graph database",
}


class Unreadable(Exception):
    """A part of the platform could not be read; the message is the reason, fit for evidence."""


@contextmanager
def reading(
    dsns: Mapping[str, str], database: str, *, statement_timeout_s: float = STATEMENT_TIMEOUT_S
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection in one read-only transaction with one snapshot, closed at the end.

    Args:
        dsns: by database, as in `ResolvedTarget`.
        database: `identity`, `audit`, `usage`, `flight_recorder` or `identity_graph`.
        statement_timeout_s: after which the server gives up a statement.

    Raises:
        Unreadable: no DSN, no connection, or any failure of a statement in the block.
    """
    title = _TITLES[database]
    dsn = dsns.get(database)
    if dsn is None:
        raise Unreadable(f"the target gives no access to the {title} (databases.{database})")
    try:
        with connect(dsn) as connection, _cut_off_when_silent(connection, statement_timeout_s):
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.execute("SET TIME ZONE 'UTC'")
            connection.execute("SET client_encoding = 'UTF8'")
            connection.execute(f"SET statement_timeout = {int(statement_timeout_s * 1000)}")
            yield connection
    except psycopg.Error as error:
        raise Unreadable(f"{title}: {in_words(error, dsn)}") from None


def copied_lines(
    connection: psycopg.Connection[tuple[Any, ...]], statement: sql.Composed, most: int
) -> Iterator[list[bytes]]:
    """The lines of a `COPY ... TO STDOUT`, in lists of `most` and a shorter last one.

    Lines that have arrived are taken from libpq at once, since `Copy.read` costs as much per line as hashing it; it
    waits when there are none.

    Args:
        connection: not used for anything else meanwhile.
        statement: the whole statement, in text format.
        most: lines per list, at least 1.

    Raises:
        psycopg.Error: the statement failed, at any point of the stream.
    """
    lines: list[bytes] = []
    with connection.cursor().copy(statement) as copy:
        while (state := _take(connection.pgconn, lines, most)) >= 0:
            if state == 0:
                line = bytes(copy.read())
                if not line:
                    break
                lines.append(line)
            if len(lines) == most:
                yield lines
                lines = []
        if state < 0:
            _raise_if_failed(connection.pgconn)
    if lines:
        yield lines


def connect(dsn: str, *, autocommit: bool = False) -> psycopg.Connection[tuple[Any, ...]]:
    """A plain connection with our name and a limit on the time to connect.

    Raises:
        psycopg.Error: see `in_words` before showing it to anyone.
    """
    return psycopg.connect(
        dsn,
        autocommit=autocommit,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name=APPLICATION_NAME,
        # A host that is lost is noticed within a minute, also by a stream.
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=60_000,
    )


@contextmanager
def _cut_off_when_silent(connection: psycopg.Connection[tuple[Any, ...]], statement_timeout_s: float) -> Iterator[None]:
    """Ends the connection of a server that does not keep its own statement timeout."""

    def cut() -> None:
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(SILENCE_TIMEOUTS * statement_timeout_s + SILENCE_SLACK_S, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def in_words(error: psycopg.Error, dsn: str) -> str:
    """The first line of an error without the password, and without anything that a terminal acts upon."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = "".join(character if character.isprintable() else " " for character in lines[0][:300])
    try:
        password = psycopg.conninfo.conninfo_to_dict(dsn).get("password")
    except psycopg.Error:
        return type(error).__name__
    return text.replace(str(password), "***") if password else text


def _take(pgconn: PGconn, lines: list[bytes], most: int) -> int:
    """Adds the lines that are there to some others, until these are `most`.

    Returns:
        Positive when they are; 0 when no line is there yet; negative after the last one.
    """
    state = 1
    for has_looked in (False, True):
        for _ in range(most - len(lines)):
            state, line = pgconn.get_copy_data(1)
            if state <= 0:
                break
            lines.append(bytes(line))
        if state != 0 or has_looked:
            break
        # Often more has arrived by now, and this asks for it at a fraction of the price of waiting.
        pgconn.consume_input()
    return state


def _raise_if_failed(pgconn: PGconn) -> None:
    """Takes the results that follow the last line of a copy, so that the connection is free again."""
    for result in list(iter(pgconn.get_result, None)):
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)
