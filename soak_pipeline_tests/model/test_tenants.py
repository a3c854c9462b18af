from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.model.tenants import TENANT_SHARES, split_by_share, tenant_id_of


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (1_000, [600, 150, 100, 100, 50]),
        (100, [60, 15, 10, 10, 5]),
        (60, [36, 9, 6, 6, 3]),
        (5, [3, 1, 1, 0, 0]),
        (0, [0, 0, 0, 0, 0]),
    ],
)
def test_users_are_split_by_share(total: int, expected: list[int]) -> None:
    assert list(split_by_share(total, TENANT_SHARES).values()) == expected


@given(st.integers(0, 20_000))
def test_a_split_is_exact_and_never_off_by_one_user(total: int) -> None:
    parts = split_by_share(total, TENANT_SHARES)
    assert sum(parts.values()) == total
    assert all(abs(parts[name] - total * share) < 1 for name, share in TENANT_SHARES.items())


def test_tenant_ids_are_stable_per_run_and_differ_between_runs() -> None:
    first = tenant_id_of("20261123T073000Z", "A")
    assert first == tenant_id_of("20261123T073000Z", "A")
    assert len({first, tenant_id_of("20261123T073000Z", "B"), tenant_id_of("20261123T073001Z", "A")}) == 3
