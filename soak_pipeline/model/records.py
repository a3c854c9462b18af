"""The shape of the two tables of evidence: one row per request, one row per telemetry sample.

Times are microseconds since `Plan.epoch_unix_us`; a process reads the wall clock once and goes on by its monotonic
clock, so a step of the wall clock during a run moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple, get_type_hints

_Text = Annotated[str, "dictionary"]
_Bool = Annotated[bool, "bool"]
_Int16 = Annotated[int, "int16"]
_Int32 = Annotated[int, "int32"]
_Int64 = Annotated[int, "int64"]
_Float64 = Annotated[float, "float64"]


def _columns_of(row: type) -> Mapping[str, str]:
    """Storage type of each column of a row; `dictionary` is dictionary-encoded text."""
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(row, include_extras=True).items()}


class RequestRecord(NamedTuple):
    """One request; a row of `requests/*.parquet`.

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

    session: _Text
    window: _Int16
    phase: _Text
    tenant: _Text
    kind: _Text
    operation: _Text
    outcome: _Text
    settled: _Bool
    status: _Int16
    user: _Int32
    sequence: _Int32
    intended_us: _Int64
    start_us: _Int64
    service_us: _Int32
    response_bytes: _Int32
    worker: _Int16


REQUEST_COLUMNS = _columns_of(RequestRecord)
"""Storage type of each column of `requests/*.parquet`, in order."""


class TelemetrySample(NamedTuple):
    """One value of one series at one time; a row of the files in `telemetry/`.

    Attributes:
        time_us: when it was read, microseconds since the plan's epoch.
        source: `platform`, `database`, `redis`, `generator` or `host`.
        owner: whose resource it is: a process such as `gateway-1`, a database, a tenant, a load worker.
        series: what was read, with its unit, such as `rss_bytes`; see `model.series`.
        value: the value; NaN when it could not be read.
    """

    time_us: _Int64
    source: _Text
    owner: _Text
    series: _Text
    value: _Float64


TELEMETRY_COLUMNS = _columns_of(TelemetrySample)
"""Storage type of each column of the files in `telemetry/`, in order."""
