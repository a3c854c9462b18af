"""What Locust's master and workers tell each other beyond Locust's own messages.

Owns the names and contents. Locust encodes them as msgpack, so they are plain dictionaries.
"""

from __future__ import annotations

from typing import Any, TypedDict

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
