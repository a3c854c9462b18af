"""Which requests the platform acknowledged as executed or decided, and must therefore have kept a row of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from soak_pipeline.evidence.requests import Mask, RequestTable
from soak_pipeline.model.traffic import Kind, Outcome, Phase, request_id_of

HTTP_OK = 200


def acknowledged_keys(table: RequestTable, seed: int, tenant: str) -> Iterator[bytes]:
    """Request ids, as 16 bytes each, of a tenant's executions that were answered as they must be.

    An allowed call that was served and an attack that was denied are both decisions of the policy, and each must stand
    in the audit chain.
    """
    rows = table.where(tenant=tenant, kind=(Kind.ALLOWED, Kind.DENIED), outcome=(Outcome.OK, Outcome.WRONGLY_ALLOWED))
    for request_id in _request_ids(table, rows, seed):
        yield bytes.fromhex(request_id.replace("-", ""))


@dataclass(frozen=True, slots=True)
class FanoutCalls:
    """Calls of the fan-out that were served.

    Attributes:
        users: indices of the agents that made at least one.
        request_ids: of the calls.
    """

    users: frozenset[int]
    request_ids: frozenset[str]


def fanout_calls(table: RequestTable, seed: int) -> FanoutCalls:
    """The fan-out's calls that the platform served."""
    rows = table.where(phase=Phase.FANOUT, kind=Kind.ALLOWED) & (table.columns["status"] == HTTP_OK)
    return FanoutCalls(
        users=frozenset(np.unique(table.columns["user"][rows]).tolist()),
        request_ids=frozenset(_request_ids(table, rows, seed)),
    )


def _request_ids(table: RequestTable, rows: Mask, seed: int) -> Iterator[str]:
    labels = table.labels["session"]
    columns = (table.columns[name][rows].tolist() for name in ("session", "user", "sequence"))
    for session, user, sequence in zip(*columns, strict=True):
        yield request_id_of(seed, labels[session], user, sequence)
