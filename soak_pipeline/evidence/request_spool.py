"""Request records while the load runs: packed and appended to spool files by the process that sends the requests.

Owns the spool format and its naming. Never reads a spool (`request_writer` turns them into Parquet), and imports no
table library, so a load worker stays small.

A record is 40 bytes, appended once a second: a crash loses that second. A spool that is full is closed, so that
another process can turn it into Parquet while the load goes on; memory is that of one second's records.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from soak_pipeline.model.records import REQUEST_COLUMNS
from soak_pipeline.model.traffic import KIND_OF, Operation, Outcome, Phase

ROWS_PER_PART = 250_000
"""Records after which a spool is closed: 10 MB."""

BEFORE_ZERO = -1
"""`window` of what is sent before the session's time zero: the logins."""

OPERATION_CODES = {operation: code for code, operation in enumerate(Operation)}
OUTCOME_CODES = {outcome: code for code, outcome in enumerate(Outcome)}

OPEN_SUFFIX = ".spool-open"
CLOSED_SUFFIX = ".spool"

_CODES = {"int64": "q", "int32": "i", "int16": "h", "bool": "B", "dictionary": "B"}

SPOOLED = {
    name: _CODES[REQUEST_COLUMNS[name]]
    for name in (
        "intended_us",
        "start_us",
        "service_us",
        "response_bytes",
        "user",
        "sequence",
        "window",
        "status",
        "operation",
        "outcome",
        "tenant",
        "settled",
    )
}
"""The columns of a record in a spool and how each is packed: `struct`'s format characters, little-endian. Texts are
their codes in the header, and the header alone tells the other columns."""

RECORD = struct.Struct("<" + "".join(SPOOLED.values()))

_INT32_MAX = 2**31 - 1


class SpoolHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a spool, as JSON: what the codes in its records mean.

    Attributes:
        session, worker: whose records they are.
        phases: phase of each window, by index.
        phase_before_zero: phase of records with window `BEFORE_ZERO`.
        tenants, operations, outcomes: values by code.
        kinds: kind of each operation, by the operation's code.
    """

    session: str
    worker: int
    phases: tuple[str, ...]
    phase_before_zero: str
    tenants: tuple[str, ...]
    operations: tuple[str, ...] = tuple(Operation)
    kinds: tuple[str, ...] = tuple(KIND_OF[operation] for operation in Operation)
    outcomes: tuple[str, ...] = tuple(Outcome)
    format_version: int = 1


class RequestSpool:
    """Appends the records of one load process; for one thread, or one gevent hub.

    Args:
        requests_dir: created when missing.
        session, worker: whose records they are.
        phases: phase of each window of the session, by index.
        tenants: names, in the order of their codes.
        phase_before_zero: phase of what is sent before time zero.
        rows_per_part: records after which a part is closed.
    """

    def __init__(
        self,
        requests_dir: Path,
        *,
        session: str,
        worker: int,
        phases: Sequence[Phase],
        tenants: Sequence[str],
        phase_before_zero: Phase = Phase.WARMUP,
        rows_per_part: int = ROWS_PER_PART,
    ) -> None:
        requests_dir.mkdir(parents=True, exist_ok=True)
        self._dir = requests_dir
        self._name = f"{session}-{worker}"
        self._header = SpoolHeader(
            session=session,
            worker=worker,
            phases=tuple(phases),
            phase_before_zero=phase_before_zero,
            tenants=tuple(tenants),
        )
        self._rows_per_part = rows_per_part
        self._part = _next_part(requests_dir, self._name)
        self._rows_in_part = 0
        self._bytes_in_part = 0
        self._rows: list[bytes] = []
        self._file: BinaryIO | None = None

    def append(
        self,
        intended_us: int,
        start_us: int,
        service_us: int,
        response_bytes: int,
        user: int,
        sequence: int,
        window: int,
        status: int,
        operation: Operation,
        outcome: Outcome,
        tenant_code: int,
        settled: bool,
    ) -> None:
        """Adds one record; it is safe on disk after the next `flush`. Times in microseconds since the plan's epoch."""
        self._rows.append(
            RECORD.pack(
                intended_us,
                start_us,
                service_us if service_us < _INT32_MAX else _INT32_MAX,
                response_bytes,
                user,
                sequence,
                window,
                status,
                OPERATION_CODES[operation],
                OUTCOME_CODES[outcome],
                tenant_code,
                settled,
            )
        )

    def flush(self) -> None:
        """Puts everything appended so far on disk.

        Raises:
            OSError: the disk is full or gone; nothing of this flush stays in the file, and all of it is kept for
                another try.
        """
        if not self._rows:
            return
        data = b"".join(self._rows)
        if self._file is None:
            self._file = self._path(OPEN_SUFFIX).open("xb", buffering=0)
            self._bytes_in_part = 0
        if self._bytes_in_part == 0:
            data = msgspec.json.encode(self._header) + b"\n" + data
        try:
            _write_all(self._file, data)
        except OSError:
            # A record that is half written would shift all that follow it.
            with contextlib.suppress(OSError):
                self._file.truncate(self._bytes_in_part)
                self._file.seek(self._bytes_in_part)
            raise
        self._bytes_in_part += len(data)
        self._rows_in_part += len(self._rows)
        self._rows.clear()
        if self._rows_in_part >= self._rows_per_part:
            self._close_part()

    def close(self) -> None:
        """Flushes and closes the last part; the spool may not be used afterwards.

        Raises:
            OSError: as `flush`.
        """
        self.flush()
        self._close_part()

    def _close_part(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        self._path(OPEN_SUFFIX).rename(self._path(CLOSED_SUFFIX))
        self._part += 1
        self._rows_in_part = 0

    def _path(self, suffix: str) -> Path:
        return self._dir / f"{self._name}-{self._part:05d}{suffix}"


def _next_part(requests_dir: Path, name: str) -> int:
    """Behind the parts that exist, so that a session that is run again overwrites nothing."""
    numbers = [
        int(number)
        for path in requests_dir.glob(f"{name}-*")
        if (number := path.stem.removeprefix(f"{name}-")).isdigit()
    ]
    return max(numbers, default=-1) + 1


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
