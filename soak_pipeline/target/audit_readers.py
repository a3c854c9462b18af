"""`python -m soak_pipeline.target.audit_readers FD`: reads the audit rows of several tenants at once, in processes.

PostgreSQL sends rows faster than one interpreter can hash them, so as many processes as there are processors read a
tenant after another each. Owns these processes and what goes through their connections: first the order, with
the credentials that it takes, then the acknowledged keys; back comes what the rows show. What rows mean is in `audit`.

A reader whose connection ends has lost its parent, and ends as well.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Self

import msgspec

from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.evidence.own_process import module_command, module_environment
from soak_pipeline.model.plan import TenantPlan
from soak_pipeline.model.target import Target
from soak_pipeline.target.audit import DATABASES, TenantAudit, nothing_read, read_tenant
from soak_pipeline.target.databases import STREAM_TIMEOUT_S, longest_s

MODULE = "soak_pipeline.target.audit_readers"
_CHUNK_BYTES = 65_536
_END_OF_KEYS = b""
ANSWER_TIMEOUT_S = len(DATABASES) * longest_s(STREAM_TIMEOUT_S)
"""After this a reader is ended: a server that keeps no time limit of its own must not hold up a verdict for ever."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one reader is to do.

    Attributes:
        tenant: whose rows.
        target: whose words the rows are written in.
        dsns: of the databases that it needs, with their passwords.
        public_key_pem: with which roots are signed; None leaves signatures unchecked.
        directory: for temporary files.
    """

    tenant: TenantPlan
    target: Target
    dsns: dict[str, str]
    public_key_pem: str | None
    directory: str


def read_tenants(
    dsns: Mapping[str, str],
    target: Target,
    acknowledged: Mapping[str, Iterable[bytes]],
    tenants: Sequence[TenantPlan],
    *,
    public_key_pem: str | None,
    directory: Path,
    at_once: int | None = None,
) -> list[TenantAudit]:
    """Reads every tenant as `read_tenant` does, several at a time; no process is left when this returns or raises.

    Args:
        dsns: by database, as in `ResolvedTarget`.
        target: whose words the rows are written in.
        acknowledged: by name of the tenant, what `read_tenant` takes.
        tenants: whose rows; those with the greatest share of the traffic are begun first.
        public_key_pem, directory: as `read_tenant` takes them.
        at_once: readers at a time; as many as there are processors when None.

    Returns:
        In the order of `tenants`; a reader that did not live to answer leaves nothing read, and the reason.
    """
    needed = {name: dsns[name] for name in DATABASES if name in dsns}
    with _Readers() as readers, ThreadPoolExecutor(at_once or os.cpu_count() or 1) as pool:
        try:
            answers = {
                tenant.name: pool.submit(
                    readers.read,
                    Order(
                        tenant=tenant,
                        target=target,
                        dsns=needed,
                        public_key_pem=public_key_pem,
                        directory=str(directory),
                    ),
                    acknowledged[tenant.name],
                )
                for tenant in sorted(tenants, key=lambda tenant: -tenant.share)
            }
            for answer in as_completed(answers.values()):
                answer.result()
        except BaseException:
            # Interrupts too: the pool waits for its threads, and these wait for their readers.
            pool.shutdown(wait=False, cancel_futures=True)
            readers.end()
            raise
    return [answers[tenant.name].result() for tenant in tenants]


class _Reader:
    """One process, which reads one tenant after another."""

    def __init__(self) -> None:
        self._connection, there = Pipe()
        with there:
            self._process = Popen(
                module_command(MODULE, str(there.fileno())),
                env=module_environment(os.environ),
                stdin=DEVNULL,
                pass_fds=[there.fileno()],
            )

    def read(self, order: Order, acknowledged: Iterable[bytes]) -> TenantAudit:
        """One tenant.

        Raises:
            EOFError, OSError: the process is no more.
            TimeoutError: it has not answered within `ANSWER_TIMEOUT_S`, and is ended.
        """
        self._connection.send_bytes(msgspec.msgpack.encode(order))
        for chunk in _chunks(acknowledged):
            self._connection.send_bytes(chunk)
        self._connection.send_bytes(_END_OF_KEYS)
        if not self._connection.poll(ANSWER_TIMEOUT_S):
            self.end()
            raise TimeoutError
        return msgspec.msgpack.decode(self._connection.recv_bytes(), type=TenantAudit)

    def wait(self) -> int:
        """Exit code of a process that has closed its end of the connection."""
        return self._process.wait()

    def end(self) -> None:
        """Kills the process; whoever waits for its answer learns that there is none."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process and the connection, which nobody uses any more."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


class _Readers:
    """The readers of one call: a free one reads the next tenant, a new one where none is free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_over = False
        self._all: list[_Reader] = []
        self._free: list[_Reader] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._all:
            reader.close()

    def read(self, order: Order, acknowledged: Iterable[bytes]) -> TenantAudit:
        """One tenant, or nothing read and the reason."""
        reader = self._next()
        try:
            audit = reader.read(order, acknowledged)
        except TimeoutError:
            return nothing_read(order.tenant.name, f"the audit rows were not read within {ANSWER_TIMEOUT_S:g} s")
        except (EOFError, OSError):
            code = reader.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
            return nothing_read(order.tenant.name, f"the process that reads the audit rows {how} before its answer")
        with self._lock:
            self._free.append(reader)
        return audit

    def end(self) -> None:
        """Ends all readers, and those that are still to come."""
        with self._lock:
            self._is_over = True
            for reader in self._all:
                reader.end()

    def _next(self) -> _Reader:
        with self._lock:
            if self._free:
                return self._free.pop()
            reader = _Reader()
            self._all.append(reader)
            if self._is_over:
                reader.end()
            return reader


def _chunks(acknowledged: Iterable[bytes]) -> Iterator[bytes]:
    """Keys in pieces that are worth sending."""
    chunk = bytearray()
    for keys in acknowledged:
        chunk += keys
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def _end_with_parent(connection: Connection) -> None:
    """Waits until nobody holds the other end any more, and ends the process, whatever it does."""
    ends = select.poll()
    ends.register(connection.fileno(), 0)
    ends.poll()
    os._exit(1)


def main() -> None:
    """Reads tenants as the parent at the other end of the connection orders, until it is gone."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=[connection], daemon=True).start()
    while True:
        order = msgspec.msgpack.decode(connection.recv_bytes(), type=Order)
        audit = read_tenant(
            order.dsns,
            dialect_of(order.target),
            order.tenant,
            iter(connection.recv_bytes, _END_OF_KEYS),
            public_key_pem=order.public_key_pem,
            directory=Path(order.directory),
        )
        connection.send_bytes(msgspec.msgpack.encode(audit))


if __name__ == "__main__":
    main()
