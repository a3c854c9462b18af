"""Writes telemetry rows of one process to Parquet parts while the run goes.

Owns the naming and the flushing of the parts. Never reads them, and never looks at what the rows mean.

A Parquet file is unreadable until its footer is written, so the part that is being filled is rewritten whole at each
flush, under another name and then renamed: what a crash loses is what was appended since the last flush, and no reader
ever sees half a file. A part is closed when it is full, which keeps both the memory and the cost of a rewrite constant
over a run of any length.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from soak_pipeline.evidence.files import write_atomically
from soak_pipeline.model.records import TELEMETRY_COLUMNS, TelemetrySample

ROWS_PER_PART = 20_000
_TYPES = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
}
_SCHEMA = pa.schema([(name, _TYPES[storage]) for name, storage in TELEMETRY_COLUMNS.items()])


class TelemetryWriter:
    """Appends samples to `<directory>/<name>-00000.parquet`, `<name>-00001.parquet` and so on.

    One writer belongs to one process and one thread. It starts no thread and takes no lock, so it works the same in a
    process that gevent has patched; a flush of a full part takes a few milliseconds.

    Args:
        directory: created when missing.
        name: of the writing process, such as `platform` or `load-0`; two live writers never share a name.
        rows_per_part: rows after which a part is closed.

    A name that already has parts goes on behind them, so that a second session of a run overwrites nothing.
    """

    def __init__(self, directory: Path, name: str, *, rows_per_part: int = ROWS_PER_PART) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._name = name
        self._rows_per_part = rows_per_part
        self._part = _next_part(directory, name)
        self._rows: list[TelemetrySample] = []
        self._unflushed = 0
        # The first array that Arrow makes loads pandas: a second of CPU, which must not fall into a measured window.
        pa.array([0.0])

    def append(self, samples: Iterable[TelemetrySample]) -> None:
        """Adds rows; they are safe on disk after the next `flush`.

        Raises:
            OSError: a part was full and could not be written; the newest rows are kept for the next try.
        """
        before = len(self._rows)
        self._rows.extend(samples)
        self._unflushed += len(self._rows) - before
        if len(self._rows) >= self._rows_per_part:
            self.flush()

    def flush(self) -> None:
        """Puts everything appended so far on disk; does nothing when that is already so.

        Raises:
            OSError: the disk is full or gone; rows stay in memory up to one part's worth and the next flush retries.
        """
        if not self._unflushed:
            return
        try:
            self._write_part()
        except OSError:
            del self._rows[: -self._rows_per_part]
            raise
        self._unflushed = 0
        if len(self._rows) >= self._rows_per_part:
            self._part += 1
            self._rows.clear()

    def close(self) -> None:
        """Flushes the rest; the writer may not be used afterwards."""
        self.flush()
        self._rows.clear()

    def _write_part(self) -> None:
        write_part(self._directory, self._name, self._part, _table_of(self._rows))


def write_part(directory: Path, name: str, part: int, table: pa.Table) -> Path:
    """Writes one part of the telemetry, whole or not at all.

    Args:
        directory: `telemetry/` of a run folder.
        name: of the writer.
        part: number, from 0.
        table: with the columns of `TELEMETRY_COLUMNS`.

    Raises:
        OSError: the disk is full or gone.
    """
    path = directory / f"{name}-{part:05d}.parquet"
    write_atomically(path, lambda temporary: pq.write_table(table.cast(_SCHEMA), temporary, compression="zstd"))
    return path


def _table_of(rows: list[TelemetrySample]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    arrays = []
    for values, field in zip(columns, _SCHEMA, strict=True):
        if pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values, type=pa.string()).dictionary_encode())
        else:
            arrays.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _next_part(directory: Path, name: str) -> int:
    taken = [
        int(suffix)
        for path in directory.glob(f"{name}-*.parquet")
        if (suffix := path.stem.removeprefix(f"{name}-")).isdigit()
    ]
    return max(taken, default=-1) + 1
