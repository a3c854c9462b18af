"""Selecting among request records."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.evidence.requests import RequestTable

TABLE = RequestTable(
    {
        "intended_us": np.array([0, 10, 20, 30, 40]),
        "start_us": np.array([1, 10, 25, 30, 40]),
        "service_us": np.array([500, 1_000, 2_000, 3_000, 4_000], dtype=np.uint32),
        "tenant": np.array([0, 1, 0, 2, 1], dtype=np.int16),
    },
    {"tenant": ("A", "B", "C")},
)


@given(st.lists(st.booleans(), min_size=5, max_size=5), st.integers(min_value=0, max_value=31))
def test_what_is_taken_is_every_column_at_the_masks_rows(mask: list[bool], second: int) -> None:
    taken = TABLE.take(np.array(mask))
    assert {name: column.tolist() for name, column in taken.columns.items()} == {
        name: [value for value, wanted in zip(column.tolist(), mask, strict=True) if wanted]
        for name, column in TABLE.columns.items()
    }
    assert len(taken) == sum(mask)
    again = np.array([bool(second >> place & 1) for place in range(len(taken))], dtype=bool)
    assert taken.take(again).columns["start_us"].tolist() == taken.columns["start_us"][again].tolist()


def test_rows_are_found_by_their_labels() -> None:
    assert TABLE.where(tenant="B").tolist() == [False, True, False, False, True]
    assert TABLE.where(tenant=("A", "C")).tolist() == [True, False, True, True, False]
    assert TABLE.where(tenant="Z").tolist() == [False] * 5
    assert TABLE.take(TABLE.where(tenant="B")).text("tenant").tolist() == ["B", "B"]


def test_latency_counts_from_the_intended_start_and_service_from_the_start() -> None:
    late = TABLE.take(TABLE.columns["intended_us"] == 20)
    assert late.service_ms.tolist() == [2.0]
    assert late.latency_ms.tolist() == [2.005]
