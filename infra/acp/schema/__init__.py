"""The five databases of the platform: one `.sql` file each, applied idempotently.

Owns databases, tables, indexes and triggers.  It never writes a row.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Final

import psycopg
from psycopg import sql

DATABASES: Final = ("acp_identity", "acp_audit", "acp_usage", "acp_flight_recorder", "acp_identity_graph")
_SCHEMA_LOCK: Final = 0x5ACB_5C4E


def apply(dsn_of: Callable[[str], str], maintenance_database: str = "postgres") -> None:
    """Create what is missing of the five databases and everything in them.

    Two processes may call it at once: they take turns by an advisory lock.

    Args:
        dsn_of: gives the DSN of a database by its name; its role must be allowed to create databases.
        maintenance_database: where to connect before any of the five exists.
    Raises:
        psycopg.Error: PostgreSQL refused; the database that failed is left as it was before its file.
    """
    with psycopg.connect(dsn_of(maintenance_database), autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(%s)", [_SCHEMA_LOCK])
        existing = {row[0] for row in server.execute("SELECT datname FROM pg_database").fetchall()}
        for database in DATABASES:
            if database not in existing:
                server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
            with psycopg.connect(dsn_of(database)) as connection:
                connection.execute(files(__name__).joinpath(f"{database}.sql").read_bytes())
