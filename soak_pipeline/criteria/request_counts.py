"""Counts of request records per tenant and kind, in one pass over millions of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soak_pipeline.evidence.requests import Mask, RequestTable
from soak_pipeline.model.traffic import Kind, Outcome, Phase

LOAD_PHASES = tuple(phase for phase in Phase if phase not in (Phase.FANOUT, Phase.PROBE))
"""The phases in which the virtual users send their mix."""

UNANSWERED = (Outcome.TIMEOUT, Outcome.TRANSPORT_ERROR)
"""Outcomes without a whole answer."""


def executed_calls(requests: RequestTable) -> dict[str, int]:
    """Calls per tenant that the platform acknowledged as executed, in the phases of the load."""
    if not len(requests):
        return {}
    return count_by(requests, "tenant", requests.where(kind=Kind.ALLOWED, outcome=Outcome.OK, phase=LOAD_PHASES))


def count_by(requests: RequestTable, column: str, mask: Mask | None = None) -> dict[str, int]:
    """Rows per value of a text column; values without a row are absent."""
    codes = requests.columns[column] if mask is None else requests.columns[column][mask]
    labels = requests.labels[column]
    counts = np.bincount(codes, minlength=len(labels))
    return {label: int(number) for label, number in zip(labels, counts, strict=True) if number}


def count_by_two(requests: RequestTable, first: str, second: str, mask: Mask | None = None) -> NDArray[np.int64]:
    """Rows per pair of values of two text columns, as a matrix over their labels."""
    rows, columns = len(requests.labels[first]), len(requests.labels[second])
    one, two = requests.columns[first], requests.columns[second]
    if mask is not None:
        one, two = one[mask], two[mask]
    pairs = one.astype(np.int64) * columns + two
    return np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)
