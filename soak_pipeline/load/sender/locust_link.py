"""The link between Locust's master and workers: where it is, how it is set, and our messages on it.

Owns the names and contents of what they tell each other beyond Locust's own messages. Locust encodes them as msgpack,
so they are plain dictionaries.
"""

from __future__ import annotations

from typing import Any, TypedDict

from locust import runners as locust_runners

MASTER_HOST = "127.0.0.1"

INDEX_WANTED = "soak_index_wanted"
INDEX = "soak_index"
REPORT = "soak_report"
ZERO = "soak_zero"


class IndexWanted(TypedDict):
    """A worker has a new user of a tenant and asks for its index; `ticket` comes back with the answer."""

    tenant: str
    ticket: int


class Index(TypedDict):
    """The master's answer: the index of the user within its tenant, -1 when all are taken."""

    ticket: int
    index: int


class Report(TypedDict):
    """What a worker says once a second.

    `latency_us` packs, per tenant, the latencies since the last report; `failure` ends the session; `finished` says
    that every request of this worker has ended.
    """

    worker: int
    users: int
    outcomes: dict[str, int]
    latency_us: dict[str, bytes]
    failure: str
    finished: bool


class Zero(TypedDict):
    """The master's word that all users are ready: time zero of the windows, microseconds since the plan's epoch."""

    zero_us: int


def content(message: Any) -> Any:
    """The dictionary of a message."""
    return message.data


def quieten_locust() -> None:
    """Leaves liveness to the supervisor, which sees a dead process at once.

    Locust would call a worker missing after three late heartbeats and start its users again elsewhere in mid-session,
    and it judges heartbeats of the master by the wall clock, which may be stepped.
    """
    locust_runners.HEARTBEAT_LIVENESS = 1_000_000_000
    locust_runners.MASTER_HEARTBEAT_TIMEOUT = 1_000_000_000
    locust_runners.WORKER_LOG_REPORT_INTERVAL = -1
