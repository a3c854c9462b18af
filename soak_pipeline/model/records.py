"""The shape of the two tables of evidence: one row per request, one row per telemetry sample.

Times are microseconds since `Plan.epoch_unix_us`; a process reads the wall clock once and goes on by its monotonic
clock, so a step of the wall clock during a run moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class RequestRecord(NamedTuple):
    """One request; a row of `requests/*.parquet`. Text columns are dictionary-encoded.

    Attributes:
        session: name of the load session, such as `fairness-1` or `soak`.
        window: index of the window within the session.
        phase, tenant, kind, operation, outcome: see `model.traffic` and `model.tenants`.
        settled: false in the settling seconds at the start of a window, which no latency criterion uses.
        status: HTTP status, 0 when no answer arrived.
        user: index of the virtual user in the session.
        sequence: number of the request within the user, from 0; (session, user, sequence) derives the request id.
        intended_us: when the schedule wanted it sent.
        start_us: when it was sent.
        service_us: from sent to the last byte of the answer (or the failure), >= 0.
        response_bytes: body length that was read.
        worker: index of the load worker.
    """

    session: str
    window: int
    phase: str
    tenant: str
    kind: str
    operation: str
    outcome: str
    settled: bool
    status: int
    user: int
    sequence: int
    intended_us: int
    start_us: int
    service_us: int
    response_bytes: int
    worker: int


REQUEST_COLUMNS: Mapping[str, str] = {
    "session": "dictionary",
    "window": "int16",
    "phase": "dictionary",
    "tenant": "dictionary",
    "kind": "dictionary",
    "operation": "dictionary",
    "outcome": "dictionary",
    "settled": "bool",
    "status": "int16",
    "user": "int32",
    "sequence": "int32",
    "intended_us": "int64",
    "start_us": "int64",
    "service_us": "int32",
    "response_bytes": "int32",
    "worker": "int16",
}
"""Storage type of each column of `requests/*.parquet`, in order; `dictionary` is dictionary-encoded text."""


class TelemetrySample(NamedTuple):
    """One value of one series at one time; a row of `telemetry.parquet`.

    Attributes:
        time_us: when it was read, microseconds since the plan's epoch.
        source: `platform`, `database`, `redis`, `generator` or `host`.
        owner: whose resource it is: a process such as `gateway-1`, a database, a tenant, a load worker.
        series: what was read, with its unit, such as `rss_bytes`; see `model.series`.
        value: the value; NaN when it could not be read.
    """

    time_us: int
    source: str
    owner: str
    series: str
    value: float


TELEMETRY_COLUMNS: Mapping[str, str] = {
    "time_us": "int64",
    "source": "dictionary",
    "owner": "dictionary",
    "series": "dictionary",
    "value": "float64",
}
