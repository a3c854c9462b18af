"""What every worker process does besides its work: threads, signals, logging, connections, `/metrics`.

Owns the life of the process.  It knows nothing of streams or tables.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import psycopg
import redis
from prometheus_client import REGISTRY, Counter, Gauge, start_http_server
from prometheus_client.registry import Collector

from infra.acp.process_figures import GcClock, unique_bytes
from infra.acp.settings import Settings

logger = logging.getLogger(__name__)

Task = Callable[[threading.Event], None]
"""Work of one thread: runs until the event is set."""

TRANSIENT_ERRORS: Final = (redis.RedisError, psycopg.Error, OSError)
"""What a retry may cure: an unreachable or restarting server, a lost connection, a deadlock."""

RETRIES = Counter("acp_worker_retries_total", "Batches or passes that failed and are tried again", ["worker"])
DB_CONNECTIONS = Gauge("acp_worker_db_connections", "Connections to PostgreSQL that are open", ["application"])

THREADS = Gauge("process_threads", "Threads of the process")
THREADS.set_function(threading.active_count)
UNIQUE_MEMORY = Gauge("process_unique_memory_bytes", "Resident memory that nothing else shares")
UNIQUE_MEMORY.set_function(unique_bytes)
GC_SECONDS = Gauge("process_gc_seconds_total", "Time that the garbage collector took")
GC_SECONDS.set_function(partial(getattr, GcClock(), "seconds"))

_WATCH_INTERVAL_S: Final = 0.2
_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 5.0


def serve(name: str, settings: Settings, tasks: Sequence[Task], collectors: Sequence[Collector] = ()) -> int:
    """Run the tasks, one thread each, until SIGTERM or SIGINT.

    Returns:
        0 after a requested stop, 1 when a task ended by itself (its error is in the log).
    """
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(levelname)s %(message)s")
    # Blocked in every thread and looked for by this one, so that a stop never interrupts a batch half way.  (Not by
    # sigtimedwait: a process that was suspended for longer than its timeout gets a signal from it that nobody sent.)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for collector in collectors:
        REGISTRY.register(collector)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")

    stop = threading.Event()
    threads = [
        threading.Thread(target=task, args=[stop], name=f"{name}-{number}", daemon=True)
        for number, task in enumerate(tasks)
    ]
    for thread in threads:
        thread.start()
    logger.info("started with %d threads", len(threads))
    while not (requests := signals & signal.sigpending()) and all(thread.is_alive() for thread in threads):
        time.sleep(_WATCH_INTERVAL_S)
    if requests:
        logger.info("stopping on request")
    else:
        logger.error("a thread ended by itself; stopping")
    stop.set()
    for thread in threads:
        thread.join()
    return 0 if requests else 1


def repeat(worker: str, step: Callable[[], None], stop: threading.Event) -> None:
    """Call `step` until stopped; after a transient error wait, longer each time, and go on.

    Any other error ends the loop, and with it the process, which is then started anew.
    """
    delay_s = _RETRY_FIRST_S
    while not stop.is_set():
        try:
            step()
            delay_s = _RETRY_FIRST_S
        except TRANSIENT_ERRORS as error:
            RETRIES.labels(worker).inc()
            logger.warning("%s: %s; next try in %.1f s", type(error).__name__, _first_line(error), delay_s)
            stop.wait(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MOST_S)


class Database:
    """One connection, opened when first needed and again after it was lost.

    The plans of the workers' statements must be right while the tables are still empty and stay right while
    they grow, so scans of whole tables are priced out; and a writer that hangs within a transaction is ended
    by the server, so that it cannot hold the locks of others.
    """

    OPTIONS: Final = (
        "-c timezone=UTC -c enable_seqscan=off -c jit=off -c idle_in_transaction_session_timeout=10s"
        " -c statement_timeout=60s"
    )

    def __init__(self, dsn: str, application: str) -> None:
        self._dsn = dsn
        self._application = application
        self._connection: psycopg.Connection[Any] | None = None
        DB_CONNECTIONS.labels(application).set(0)

    def connection(self) -> psycopg.Connection[Any]:
        """Give the connection, in autocommit: transactions are explicit."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                application_name=self._application,
                options=self.OPTIONS,
                connect_timeout=5,
            )
            DB_CONNECTIONS.labels(self._application).set(1)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            DB_CONNECTIONS.labels(self._application).set(0)


def redis_client(settings: Settings) -> redis.Redis:
    """Open a client whose answers are bytes; a call that is not answered in 10 s fails."""
    return redis.Redis.from_url(
        settings.redis_url, socket_timeout=10, socket_connect_timeout=5, health_check_interval=30, protocol=2
    )


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
