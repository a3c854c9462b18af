"""Reading the request records of a run, column-wise.

Text columns come as integer codes with their list of values, so that selecting among millions of rows costs
one comparison per row and no Python object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.records import REQUEST_COLUMNS

Mask = NDArray[np.bool_]


class _Selected(Mapping[str, NDArray[Any]]):
    """Some rows of columns; of a million records most questions need a few of sixteen columns."""

    def __init__(self, columns: Mapping[str, NDArray[Any]], mask: Mask) -> None:
        self._columns = columns
        self._rows = np.flatnonzero(mask)
        self._copied: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._copied:
            self._copied[name] = self._columns[name][self._rows]
        return self._copied[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


@dataclass(frozen=True, slots=True)
class RequestTable:
    """Request records as arrays of equal length, in no particular order.

    Attributes:
        columns: per name of `REQUEST_COLUMNS`: its values, or for text columns the codes into `labels`.
        labels: per text column: its values.
    """

    columns: Mapping[str, NDArray[Any]]
    labels: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.columns["intended_us"])

    def where(self, **wanted: str | Iterable[str]) -> Mask:
        """Rows whose text columns have the wanted values, such as `where(phase="soak", tenant=("acme", "globex"))`."""
        mask = np.ones(len(self), dtype=bool)
        for name, values in wanted.items():
            values = (values,) if isinstance(values, str) else tuple(values)
            codes = [code for code, label in enumerate(self.labels[name]) if label in values]
            column = self.columns[name]
            mask &= column == codes[0] if len(codes) == 1 else np.isin(column, codes)
        return mask

    def take(self, mask: Mask) -> RequestTable:
        """The rows of a mask; a column is copied when it is first asked for."""
        return RequestTable(_Selected(self.columns, mask), self.labels)

    def text(self, name: str) -> NDArray[np.object_]:
        """A text column as strings; for small selections only."""
        values: NDArray[np.object_] = np.array(self.labels[name], dtype=object)[self.columns[name]]
        return values

    @property
    def service_ms(self) -> NDArray[np.float64]:
        """From sent to answered (ms)."""
        return self.columns["service_us"].astype(np.float64) / 1_000.0

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """From the intended start to the answer (ms): without coordinated omission."""
        start = self.columns["start_us"] - self.columns["intended_us"]
        total: NDArray[np.float64] = (start + self.columns["service_us"]).astype(np.float64) / 1_000.0
        return total


def request_files(requests_dir: Path) -> list[Path]:
    """The Parquet files with request records, by name."""
    return sorted(path for path in requests_dir.glob("*.parquet") if not path.name.startswith("."))


def read_requests(requests_dir: Path) -> RequestTable:
    """Every request record under the folder; an empty table when there is none.

    Raises:
        EvidenceUnreadable: a file is damaged or lacks a column.
    """
    files = request_files(requests_dir)
    try:
        tables = [pq.read_table(path, columns=list(REQUEST_COLUMNS), memory_map=False) for path in files]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise EvidenceUnreadable(f"{requests_dir}: {error}") from error
    columns: dict[str, NDArray[Any]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for name, kind in REQUEST_COLUMNS.items():
        chunks = [table.column(name) for table in tables]
        if kind == "dictionary":
            columns[name], labels[name] = _codes(chunks)
        else:
            columns[name] = _plain(chunks, np.dtype(kind))
    return RequestTable(columns, labels)


def _plain(chunks: list[pa.ChunkedArray], dtype: np.dtype[Any]) -> NDArray[Any]:
    if not chunks:
        return np.empty(0, dtype=dtype)
    return np.concatenate([chunk.to_numpy() for chunk in chunks]).astype(dtype, copy=False)


def _codes(chunks: list[pa.ChunkedArray]) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    labels: dict[str, int] = {}
    parts = []
    for chunk in (part for chunked in chunks for part in chunked.chunks):
        encoded = chunk if pa.types.is_dictionary(chunk.type) else pc.dictionary_encode(chunk)
        translation = np.array(
            [labels.setdefault(value, len(labels)) for value in encoded.dictionary.to_pylist()], dtype=np.int16
        )
        indices = encoded.indices.to_numpy()
        parts.append(translation[indices] if len(translation) else np.empty(0, dtype=np.int16))
    codes = np.concatenate(parts) if parts else np.empty(0, dtype=np.int16)
    return codes, tuple(labels)
