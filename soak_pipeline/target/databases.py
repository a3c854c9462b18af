"""Read-only connections to the platform's databases, and what becomes of their errors.

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

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 120.0
SILENCE_TIMEOUTS = 2.0
SILENCE_SLACK_S = 30.0

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


def no_access(database: str) -> str:
    """Why a database that the target file does not name cannot be read."""
    return f"the target gives no access to the {_TITLES[database]} (databases.{database})"


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
        raise Unreadable(no_access(database))
    try:
        with connect(dsn) as connection, _cut_off_when_silent(connection, statement_timeout_s):
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.execute("SET TIME ZONE 'UTC'")
            connection.execute("SET client_encoding = 'UTF8'")
            connection.execute(f"SET statement_timeout = {int(statement_timeout_s * 1000)}")
            # While rows stream through another connection, this one keeps their snapshot.
            connection.execute("SET idle_in_transaction_session_timeout = 0")
            yield connection
    except psycopg.Error as error:
        raise Unreadable(f"{title}: {in_words(error, dsn)}") from None


def longest_s(statement_timeout_s: float) -> float:
    """How long a connection lasts at most, in seconds, whatever the server does."""
    return SILENCE_TIMEOUTS * statement_timeout_s + SILENCE_SLACK_S


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

    timer = threading.Timer(longest_s(statement_timeout_s), cut)
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
