"""Many rows of a database as they arrive, in columns.

Owns the connection that they come through, and the wording of its failures. Never knows what the rows say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pyarrow as pa
from adbc_driver_postgresql import StatementOptions
from adbc_driver_postgresql import dbapi as adbc
from psycopg import sql
from psycopg.conninfo import make_conninfo

_SEEN = "SELECT pg_export_snapshot(), current_setting('statement_timeout')"
_STREAM_SETTINGS = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET TRANSACTION SNAPSHOT '{snapshot}'",
    "SET statement_timeout = '{timeout}'",
    # Where an index has the order, a sort would only spill gigabytes to the server's disk before the first row.
    "SET enable_sort = off",
)
_SERVER_SAYS = re.compile(r"(?:ERROR|FATAL):\s+(.+)")


def record_batches(
    connection: psycopg.Connection[tuple[Any, ...]], statement: sql.Composed, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The rows of a statement as Arrow columns, as they arrive.

    They come in PostgreSQL's binary format through a second connection, which sees what the first one sees: psycopg
    makes objects of each row, and that costs more than hashing it.

    Args:
        connection: from `reading`; it gives the parameters, the snapshot and the time limit.
        statement: a query.
        batch_bytes: about how many bytes of rows a batch has.

    Raises:
        psycopg.Error: the statement failed, at any point of the stream.
    """
    snapshot, timeout = connection.execute(_SEEN).fetchall()[0]
    dsn = make_conninfo(connection.info.dsn, password=connection.info.password or None)
    try:
        with adbc.connect(dsn, autocommit=True) as stream, stream.cursor() as cursor:
            for setting in _STREAM_SETTINGS:
                cursor.execute(setting.format(snapshot=snapshot, timeout=timeout))
            cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(batch_bytes)})
            cursor.execute(statement.as_string(connection))
            yield from _ahead(cursor.fetch_record_batch())
    except (adbc.Error, pa.ArrowException, OSError) as error:
        raise _as_psycopg(error) from None


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same; the next one is fetched, on another processor, while one is worked on."""
    with ThreadPoolExecutor(max_workers=1) as fetcher:
        coming = fetcher.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = fetcher.submit(next, batches, None)
            yield batch


def _as_psycopg(error: Exception) -> psycopg.Error:
    """An error of the stream as one of a connection, with the server's words where it has said any."""
    text = str(error)
    said = _SERVER_SAYS.search(text)
    return psycopg.OperationalError(said[1] if said else text)
