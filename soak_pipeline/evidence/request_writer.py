"""Turns the spools of request records into `requests/{session}-{worker}-{part}.parquet`.

Owns the Parquet files: columns of `REQUEST_COLUMNS`, rows ordered by intended start, about ten bytes a row. Never
judges a record, never drops one but a torn last one, and never removes a spool before its Parquet file is in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from soak_pipeline.evidence.files import write_atomically
from soak_pipeline.evidence.request_spool import CLOSED_SUFFIX, OPEN_SUFFIX, SPOOLED, SpoolHeader
from soak_pipeline.evidence.seal import unseal
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.records import REQUEST_COLUMNS

SUPERSEDED = "superseded"
"""Folder in `requests/` of records that a later try of their session replaced."""

_DTYPE = np.dtype([(name, f"<{code}") for name, code in SPOOLED.items()])

_STORED_AS_DIFFERENCES = ("intended_us", "start_us", "service_us", "response_bytes", "user", "sequence")
"""Columns whose neighbours are close to each other in the order of the rows."""

_SCHEMA = pa.schema(
    [
        (name, pa.dictionary(pa.int32(), pa.string()) if storage == "dictionary" else pa.type_for_alias(storage))
        for name, storage in REQUEST_COLUMNS.items()
    ]
)


def compact_closed(requests_dir: Path) -> list[Path]:
    """Turns every closed spool into Parquet; the load may go on writing others.

    Returns:
        The Parquet files that were written.

    Raises:
        EvidenceUnreadable, OSError: as `compact`.
    """
    return [compact(path) for path in sorted(requests_dir.glob(f"*{CLOSED_SUFFIX}"))]


def salvage(requests_dir: Path) -> list[Path]:
    """Turns every spool that is left into Parquet, also those that a crash left open; no load may be writing.

    Calling it again changes nothing.

    Returns:
        The Parquet files that were written.

    Raises:
        EvidenceUnreadable: a spool has no readable header; the others are turned all the same.
        OSError: the disk is full or gone.
    """
    for unfinished in requests_dir.glob(".*.parquet.*"):
        # Whoever wrote it was killed before it was in place; its spool is still there.
        unfinished.unlink()
    written, unreadable = [], []
    for path in sorted([*requests_dir.glob(f"*{CLOSED_SUFFIX}"), *requests_dir.glob(f"*{OPEN_SUFFIX}")]):
        try:
            written.append(compact(path))
        except EvidenceUnreadable as error:
            unreadable.append(str(error))
    if unreadable:
        raise EvidenceUnreadable("; ".join(unreadable))
    return written


def compact(spool: Path) -> Path:
    """Turns one spool into Parquet beside it and removes the spool; a torn record at its end is dropped.

    Raises:
        EvidenceUnreadable: it has no readable header.
        OSError: the disk is full or gone; the spool is kept.
    """
    table = _table_of(*_read_spool(spool))
    path = spool.with_suffix(".parquet")
    write_records(path, table)
    spool.unlink()
    return path


def write_records(path: Path, table: pa.Table) -> None:
    """Writes request records, whole or not at all.

    Args:
        path: of the Parquet file.
        table: with the columns of `REQUEST_COLUMNS`, texts as dictionaries.

    Raises:
        OSError: the disk is full or gone.
    """

    def write(temporary: Path) -> None:
        pq.write_table(
            table.cast(_SCHEMA),
            temporary,
            compression="zstd",
            use_dictionary=[name for name in REQUEST_COLUMNS if name not in _STORED_AS_DIFFERENCES],
            column_encoding=dict.fromkeys(_STORED_AS_DIFFERENCES, "DELTA_BINARY_PACKED"),
        )

    write_atomically(path, write)


def parquet_rows(path: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    return int(pq.read_metadata(path).num_rows)


def session_files(requests_dir: Path, session: str) -> list[Path]:
    """The Parquet files of one session, by name."""
    return sorted(requests_dir.glob(f"{session}-[0-9]*-[0-9]*.parquet"))


def set_aside_records(requests_dir: Path, session: str) -> None:
    """Moves the records of an earlier try of a session out of the readers' sight, and breaks their seal.

    A stage that is run again must not mix its records with those of the first time.
    """
    old = [path for path in requests_dir.glob(f"{session}-[0-9]*-[0-9]*.*") if not path.name.startswith(".")]
    if not old:
        return
    folder = requests_dir / SUPERSEDED
    folder.mkdir(exist_ok=True)
    target = folder / f"{session}-{1 + sum(1 for _ in folder.iterdir()):03d}"
    target.mkdir()
    for path in old:
        path.replace(target / path.name)
    unseal(requests_dir.parent, [f"{requests_dir.name}/{path.name}" for path in old])


def _read_spool(path: Path) -> tuple[SpoolHeader, NDArray[Any]]:
    data = path.read_bytes()
    head, separator, records = data.partition(b"\n")
    try:
        header = msgspec.json.decode(head, type=SpoolHeader) if separator else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        header = None
    if header is None:
        raise EvidenceUnreadable(f"{path}: a request spool of {len(data)} bytes without a readable header")
    rows = np.frombuffer(records, dtype=_DTYPE, count=len(records) // _DTYPE.itemsize)
    return header, rows[np.argsort(rows["intended_us"], kind="stable")]


def _table_of(header: SpoolHeader, rows: NDArray[Any]) -> pa.Table:
    operations = rows["operation"]
    # What comes before time zero has window -1, which as an index means the last phase.
    phases = (*header.phases, header.phase_before_zero)
    columns = {
        "session": _dictionary(np.zeros(len(rows), dtype=np.int32), (header.session,)),
        "phase": _dictionary(rows["window"], phases),
        "tenant": _dictionary(rows["tenant"], header.tenants),
        "kind": _dictionary(operations, header.kinds),
        "operation": _dictionary(operations, header.operations),
        "outcome": _dictionary(rows["outcome"], header.outcomes),
        "settled": pa.array(rows["settled"].astype(bool)),
        "worker": pa.array(np.full(len(rows), header.worker, dtype=np.int16)),
    }
    for name, storage in REQUEST_COLUMNS.items():
        if name not in columns:
            columns[name] = pa.array(rows[name].astype(storage))
    return pa.table({name: columns[name] for name in REQUEST_COLUMNS}, schema=_SCHEMA)


def _dictionary(codes: NDArray[Any], values: Sequence[str]) -> pa.DictionaryArray:
    """A text column; `values[codes]`, each text once in its dictionary, whatever number of codes names it."""
    texts = tuple(dict.fromkeys(values))
    translation = np.array([texts.index(value) for value in values], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(translation[codes]), pa.array(texts, pa.string()))
