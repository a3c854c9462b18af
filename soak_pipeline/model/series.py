"""The telemetry series: names, units, and which of them would show a leak.

A leak series is judged per owner: growth times the horizon must stay under the headroom, which stands in the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Source(StrEnum):
    """Where a sample was read."""

    PLATFORM = "platform"
    DATABASE = "database"
    REDIS = "redis"
    GENERATOR = "generator"
    HOST = "host"


class LeakSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that must not grow under sustained load.

    Attributes:
        unit: of its values.
        resource: the words for a person.
        is_expected: whether a target that gives the page or the store it is read from must have it; one that is not
            expected is judged where it is there.
    """

    unit: str
    resource: str
    is_expected: bool = True


LEAK_SERIES: Mapping[str, LeakSeries] = {
    "rss_bytes": LeakSeries(unit="bytes", resource="resident memory"),
    "uss_bytes": LeakSeries(unit="bytes", resource="memory of its own", is_expected=False),
    "open_fds": LeakSeries(unit="count", resource="open file descriptors"),
    "threads": LeakSeries(unit="count", resource="threads"),
    "db_connections": LeakSeries(unit="count", resource="database connections"),
    "db_connections_idle_in_transaction": LeakSeries(
        unit="count", resource="database connections that idle in a transaction"
    ),
    "db_pool_waiters": LeakSeries(unit="count", resource="requests that wait for a database connection"),
    "stream_length": LeakSeries(unit="entries", resource="entries in the stream"),
    "consumer_lag": LeakSeries(unit="entries", resource="entries not yet read from the stream"),
    "outbox_pending": LeakSeries(unit="rows", resource="pending usage events"),
    "table_bytes": LeakSeries(unit="bytes", resource="size of a table that must stay small", is_expected=False),
    "dead_letter_length": LeakSeries(unit="entries", resource="dead letters"),
    "redis_memory_bytes": LeakSeries(unit="bytes", resource="Redis memory"),
    "redis_keys": LeakSeries(unit="count", resource="Redis keys"),
    "retries_per_request": LeakSeries(unit="ratio", resource="retries per request"),
    "gc_share": LeakSeries(unit="share", resource="share of time for garbage collection", is_expected=False),
}
"""By series name."""

PROCESS_START_SERIES = "process_start_time_s"
"""Start time of the owner process (unix seconds); a change is a restart and splits every series of that owner."""

GENERATOR_SERIES: Mapping[str, str] = {
    "rss_bytes": "bytes",
    "cpu_share": "share of one core",
    "loop_lag_ms_p99": "ms",
    "due_unsent": "requests",
    "sent": "requests",
}
"""What a load worker reports of itself, by series name; `due_unsent` and `sent` are totals of the session."""

HOST_SERIES: Mapping[str, str] = {"cpu_idle_share": "share", "cpu_steal_share": "share", "load_average": "count"}

READABLE_SERIES = "source_readable"
"""Of the host, by what was read: 1 where it answered, 0 where it did not."""

PAGE_OWNER_PREFIX = "metrics "
"""How a metrics page is called as the owner of such a series."""
