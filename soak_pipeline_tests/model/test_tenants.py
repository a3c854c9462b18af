from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.model.tenants import split_by_share, tenant_id_of
from soak_pipeline_tests.policies import SHARES


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
    assert list(split_by_share(total, SHARES).values()) == expected


@given(st.integers(0, 20_000))
def test_a_split_is_exact_and_never_off_by_one_user(total: int) -> None:
    parts = split_by_share(total, SHARES)
    assert sum(parts.values()) == total
    assert all(abs(parts[name] - total * share) < 1 for name, share in SHARES.items())


@pytest.mark.parametrize(
    ("total", "expected"),
    [(10, [6, 1, 1, 1, 1]), (5, [1, 1, 1, 1, 1]), (20, [12, 3, 2, 2, 1]), (7, [3, 1, 1, 1, 1])],
)
def test_every_tenant_gets_at_least_one_user(total: int, expected: list[int]) -> None:
    assert list(split_by_share(total, SHARES, least=1).values()) == expected


@given(
    shares=st.lists(st.integers(1, 100), min_size=2, max_size=50),
    more=st.integers(0, 2_000),
)
def test_a_least_part_is_kept_and_the_sum_too(shares: list[int], more: int) -> None:
    of = {f"t{index}": share / sum(shares) for index, share in enumerate(shares)}
    total = len(of) + more
    parts = split_by_share(total, of, least=1)
    assert sum(parts.values()) == total
    assert min(parts.values()) >= 1
    # No part is above its share by one or more, unless it is the least part.
    assert all(part == 1 or part < total * of[name] + 1 for name, part in parts.items())


def test_too_little_for_all_is_refused() -> None:
    with pytest.raises(ValueError, match="4 cannot be split over 5 names with at least 1 each"):
        split_by_share(4, SHARES, least=1)


def test_tenant_ids_are_stable_per_run_and_differ_between_runs() -> None:
    first = tenant_id_of("20261123T073000Z", "A")
    assert first == tenant_id_of("20261123T073000Z", "A")
    assert len({first, tenant_id_of("20261123T073000Z", "B"), tenant_id_of("20261123T073001Z", "A")}) == 3
