"""Looking for secrets in whatever a run leaves: files, databases, tables, command lines, environments."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import pyarrow.parquet as pq

from soak_pipeline.dialect.platforms import nominal

SHORTEST = 8
SAMPLE_EVERY_S = 0.2
_JWT = re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")
_JWT_AS_BASE64 = re.compile(rb"ZXlK[A-Za-z0-9+/_-]{40,}")
_INVALID = nominal.DIALECT.execution.invalid_token.encode()
_PUBLIC = {_INVALID, base64.b64encode(_INVALID)}
"""The token of a request that must be refused: it is written in the source."""


def forms_of(secret: str) -> set[bytes]:
    """A secret as it is, as in a URL, in JSON, in hex, and anywhere within base64."""
    plain = secret.encode()
    texts = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    forms = {text.encode() for text in texts} | {plain.hex().encode()}
    for lead in range(3):
        # Four characters stand for three bytes: what begins `lead` bytes into a group looks different, and the
        # characters at both ends also depend on the neighbours.
        encoded = base64.b64encode(bytes(lead) + plain + bytes(2))
        middle = encoded[-(-8 * lead // 6) : (lead + len(plain)) * 8 // 6].rstrip(b"=")
        forms |= {middle, middle.translate(bytes.maketrans(b"+/", b"-_"))}
    return {form for form in forms if len(form) >= SHORTEST}


@dataclass
class Search:
    """What to look for, and where it was found.

    Args:
        secrets: by name; the names are told, never the values.
    """

    secrets: dict[str, str]
    found: set[str] = field(default_factory=set)
    looked_at: int = 0

    _forms: dict[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.also(self.secrets)

    def also(self, secrets: dict[str, str]) -> None:
        """Looks for these from now on."""
        assert all(len(secret) >= SHORTEST for secret in secrets.values())
        self._forms = self._forms | {form: name for name, secret in secrets.items() for form in forms_of(secret)}

    def data(self, place: str, data: bytes) -> None:
        """Looks through bytes."""
        self.looked_at += 1
        self.found |= {f"{name} in {place}" for form, name in self._forms.items() if form in data}
        for pattern in (_JWT, _JWT_AS_BASE64):
            if any(match not in _PUBLIC for match in pattern.findall(data)):
                self.found.add(f"a token in {place}")

    def folder(self, folder: Path) -> None:
        """Looks through every file below a folder, into tables and databases too."""
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.is_symlink():
                continue
            data = path.read_bytes()
            self.data(str(path), data)
            if path.suffix == ".parquet":
                self.data(str(path), "\n".join(_texts_of(path)).encode())
            elif data.startswith(b"SQLite format 3\0"):
                self.data(str(path), "\n".join(_values_of(path)).encode())

    @contextmanager
    def processes(self, directory: Path, others: Collection[int] = ()) -> Iterator[None]:
        """Looks at command lines and environments of this process's family, as long as the block lasts.

        Args:
            directory: of the test; a process that left the family is known by it.
            others: pids whose families count as well.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over, str(directory), others))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event, directory: str, others: Collection[int]) -> None:
        seen: set[tuple[int, float, str]] = set()
        while not over.wait(SAMPLE_EVERY_S):
            family = {process.pid for parent in (None, *others) for process in _children(parent)} | set(others)
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    line = " ".join(process.cmdline())
                    key = (process.pid, process.create_time(), line)
                    if key in seen or not (process.pid in family or directory in line):
                        continue
                    seen.add(key)
                    self.data(f"the command line of {line[:120]}", line.encode())
                    if not _may_know(line):
                        pairs = (f"{name}={value}" for name, value in process.environ().items())
                        self.data(f"the environment of {line[:120]}", "\0".join(pairs).encode())


def _children(parent: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(parent).children(recursive=True)
    except psutil.Error:
        return []


def _may_know(command_line: str) -> bool:
    """Whether a process is one of those that have credentials in their environment on purpose.

    The pipeline is among them, and so are the helpers that Dagster and `multiprocessing` start beside it.
    """
    if "soak_pipeline.load.sender.master" in command_line:
        return False
    knowing = ("soak_pipeline", "infra.acp", "pytest", "bin/soak", "dagster/_core", "from multiprocessing")
    return any(name in command_line for name in knowing)


def _texts_of(path: Path) -> Iterator[str]:
    table = pq.read_table(path)
    for column in table.columns:
        yield from (str(value) for value in column.unique().to_pylist()) if column.type != "double" else ()


def _values_of(path: Path) -> Iterator[str]:
    """Every value of every row: a text that is longer than a page is in pieces in the file itself."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                yield from (
                    value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row if value
                )
