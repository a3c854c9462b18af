"""Synthetic request records of a whole run, made from its plan as arrays; nothing is sent and nothing is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from soak_pipeline.evidence.request_writer import write_records
from soak_pipeline.model.plan import LoadSession, Plan, Window
from soak_pipeline.model.records import REQUEST_COLUMNS
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation, Outcome, Phase

_TENANTS: list[str] = []
LABELS: Mapping[str, Sequence[str]] = {
    "session": ("fairness-1", "fairness-2", "fairness-3", "fairness-4", "fanout", "soak", "probe"),
    "phase": tuple(phase.value for phase in Phase),
    # Tenants are numbered as they come: a run may have any.
    "tenant": _TENANTS,
    "kind": tuple(kind.value for kind in Kind),
    "operation": tuple(operation.value for operation in Operation),
    "outcome": tuple(outcome.value for outcome in Outcome),
}

_SERVICE_MS_MEDIAN = {
    Kind.ALLOWED: 30.0,
    Kind.DENIED: 4.0,
    Kind.READ: 9.0,
    Kind.VERIFY: 12.0,
    Kind.MISC: 3.0,
    Kind.AUTH: 20.0,
}
_SERVICE_SIGMA = 0.2
AUTH_SEQUENCE_BASE = 1_000_000_000
_EXPECTED_STATUS = {
    Operation.MISC_UNKNOWN_TOOL: 403,
    Operation.MISC_OVERSIZE: 413,
    Operation.MISC_BAD_TOKEN: 401,
    Operation.MISC_NO_TOKEN: 401,
}
_OPERATIONS_OF = {kind: [op for op in Operation if KIND_OF[op] is kind] for kind in Kind}


def code(column: str, value: str) -> int:
    """The integer code of a text value."""
    if column == "tenant" and value not in _TENANTS:
        _TENANTS.append(value)
    return LABELS[column].index(value)


@dataclass
class Requests:
    """Request records as equally long arrays; text columns as codes into `LABELS`. Defects change them in place."""

    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["intended_us"])

    def where(self, **wanted: str) -> NDArray[np.bool_]:
        """Rows whose text columns have these values."""
        mask = np.ones(len(self), dtype=bool)
        for name, value in wanted.items():
            mask &= self.columns[name] == code(name, value)
        return mask

    def set_text(self, column: str, mask: NDArray[Any], value: str) -> None:
        """Gives the rows of a mask (or of row numbers) another text value."""
        self.columns[column][mask] = code(column, value)

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drops every other row."""
        self.columns = {name: column[mask] for name, column in self.columns.items()}


def session_requests(
    plan: Plan, session: LoadSession, zero_us: int, rng: np.random.Generator, workers: int = 1
) -> Requests:
    """The records of one session that went as planned: log-ins, then every window at its planned rate."""
    first_user, position = {}, 0
    for tenant, users in session.users.items():
        first_user[tenant], position = position, position + users
    parts = [_logins(session, tenant, first_user[tenant], zero_us, rng) for tenant in session.users]
    sequence = dict.fromkeys(session.users, 0)
    for window in session.windows:
        for tenant, load in window.loads.items():
            count = round(load.requests_per_second * window.duration_s)
            part = _window(session.name, window, tenant, count, zero_us, rng)
            part["user"] = first_user[tenant] + np.arange(count) % max(1, load.active_users)
            part["sequence"] = sequence[tenant] + np.arange(count) // max(1, load.active_users)
            sequence[tenant] = int(part["sequence"][-1]) + 1 if count else sequence[tenant]
            parts.append(part)
    merged = concatenate([Requests(part) for part in parts])
    merged.columns["worker"] = (merged.columns["user"] % workers).astype(np.int16)
    return merged


def concatenate(parts: list[Requests]) -> Requests:
    """One table of several."""
    return Requests(
        {
            name: np.concatenate([part.columns[name] for part in parts]).astype(
                np.int16 if storage == "dictionary" else np.dtype(storage)
            )
            for name, storage in REQUEST_COLUMNS.items()
        }
    )


def fanout_requests(plan: Plan, zero_us: int, rng: np.random.Generator) -> Requests:
    """The fan-out: log-ins, then every agent calls in three parts; the revoked ones are refused in the second."""
    fanout = plan.profile.fanout
    agents, calls = fanout.agents, fanout.calls_per_agent
    count = agents * calls * 3
    user = np.repeat(np.arange(agents), calls * 3)
    part = np.tile(np.repeat(np.arange(3), calls), agents)
    columns = _columns("fanout", Phase.FANOUT, fanout.tenant, count)
    columns["user"] = user
    columns["sequence"] = np.tile(np.arange(calls * 3), agents)
    columns["window"] = part
    refused = (user < fanout.revoked_agents) & (part == 1)
    _fill(columns, np.full(count, LABELS["operation"].index(Operation.EXECUTE)), rng)
    columns["status"][refused] = 403
    columns["intended_us"] = zero_us + part * 2_000_000 + rng.integers(0, 50_000, count)
    columns["start_us"] = columns["intended_us"] + rng.integers(0, 300, count)
    session = LoadSession(name="fanout", users={fanout.tenant: agents}, spawn_per_second=50.0, windows=())
    logins = _logins(session, fanout.tenant, 0, zero_us, rng)
    logins["phase"][:] = code("phase", Phase.FANOUT.value)
    return concatenate([Requests(logins), Requests(columns)])


def write_requests(requests: Requests, folder: Path) -> None:
    """Writes one Parquet file per session and worker, as the load does."""
    folder.mkdir(parents=True, exist_ok=True)
    workers = np.unique(requests.columns["worker"])
    for session_code, session in enumerate(LABELS["session"]):
        for worker in workers:
            mask = (requests.columns["session"] == session_code) & (requests.columns["worker"] == worker)
            if mask.any():
                write_records(folder / f"{session}-{worker}-00000.parquet", _table_of(requests, mask))


def _table_of(requests: Requests, mask: NDArray[np.bool_]) -> pa.Table:
    arrays = {}
    for name, storage in REQUEST_COLUMNS.items():
        values = requests.columns[name][mask]
        arrays[name] = (
            pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32)), pa.array(LABELS[name]))
            if storage == "dictionary"
            else pa.array(values)
        )
    return pa.table(arrays)


def _columns(session: str, phase: Phase, tenant: str, count: int) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {name: np.zeros(count, dtype=np.int64) for name in REQUEST_COLUMNS}
    for name, value in (("session", session), ("phase", phase.value), ("tenant", tenant)):
        columns[name][:] = code(name, value)
    columns["settled"] = np.ones(count, dtype=bool)
    return columns


def _window(
    session: str, window: Window, tenant: str, count: int, zero_us: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    load = window.loads[tenant]
    columns = _columns(session, window.phase, tenant, count)
    columns["window"][:] = window.index
    kinds = list(load.mix)
    chosen = np.repeat(np.arange(len(kinds)), _exact_counts(count, [load.mix[kind] for kind in kinds]))
    rng.shuffle(chosen)
    operation = np.zeros(count, dtype=np.int64)
    for index, kind in enumerate(kinds):
        rows = chosen == index
        choices = np.array([LABELS["operation"].index(op) for op in _OPERATIONS_OF[kind]])
        operation[rows] = choices[np.arange(int(rows.sum())) % len(choices)]
    _fill(columns, operation, rng)
    within_us = (np.arange(count) + rng.random(count)) / max(1, count) * window.duration_s * 1e6
    columns["intended_us"] = zero_us + np.floor(window.start_s * 1e6 + within_us).astype(np.int64)
    columns["start_us"] = columns["intended_us"] + rng.integers(50, 1_500, count)
    columns["settled"] = within_us >= window.settle_s * 1e6
    return columns


def _exact_counts(total: int, shares: list[float]) -> list[int]:
    edges = np.round(np.cumsum([0.0, *shares]) * total).astype(int)
    return [int(count) for count in np.diff(edges)]


def _fill(columns: dict[str, NDArray[Any]], operation: NDArray[Any], rng: np.random.Generator) -> None:
    """Kind, expected status and a log-normal service time, by operation."""
    kind_of = np.array([code("kind", KIND_OF[Operation(op)].value) for op in LABELS["operation"]])
    status_of = np.array([_status_of(Operation(op)) for op in LABELS["operation"]])
    median_of = np.array([_SERVICE_MS_MEDIAN[KIND_OF[Operation(op)]] for op in LABELS["operation"]])
    columns["operation"] = operation
    columns["kind"] = kind_of[operation]
    columns["status"] = status_of[operation]
    service_ms = median_of[operation] * np.exp(_SERVICE_SIGMA * rng.standard_normal(len(operation)))
    columns["service_us"] = np.round(service_ms * 1_000.0).astype(np.int64)
    columns["response_bytes"] = np.full(len(operation), 420)


def _status_of(operation: Operation) -> int:
    return 403 if KIND_OF[operation] is Kind.DENIED else _EXPECTED_STATUS.get(operation, 200)


def _logins(
    session: LoadSession, tenant: str, first_user: int, zero_us: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    count = session.users[tenant]
    columns = _columns(session.name, Phase.WARMUP, tenant, count)
    _fill(columns, np.full(count, LABELS["operation"].index(Operation.LOGIN)), rng)
    columns["user"] = first_user + np.arange(count)
    columns["intended_us"] = zero_us - 1_000_000 - rng.integers(0, 5_000_000, count)
    columns["start_us"] = columns["intended_us"] + 100
    columns["sequence"][:] = AUTH_SEQUENCE_BASE
    columns["settled"] = np.zeros(count, dtype=bool)
    return columns
