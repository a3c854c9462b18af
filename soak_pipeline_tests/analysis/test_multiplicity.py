from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.analysis.multiplicity import crossing_probability, holm_adjusted, pocock_level


def test_holm_by_hand() -> None:
    # Sorted .005 x4, .01 x3, .03 x2, .04 x1, then made increasing.
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm_adjusted([]) == ()
    assert holm_adjusted([0.2]) == (0.2,)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm_adjusted(p_values)
    assert all(raw <= high <= 1 or raw == high for raw, high in zip(p_values, adjusted, strict=True))
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [adjusted[index] for index in ranked] == sorted(adjusted)


@pytest.mark.parametrize(("looks", "z"), [((1, 2), 2.178), ((1, 2, 3), 2.289), ((1, 2, 3, 4, 5), 2.413)])
def test_pocock_constants_of_the_literature(looks: tuple[int, ...], z: float) -> None:
    # Pocock (1977), table 1: two-sided 5 %, that is 2.5 % on each side, equally spaced looks.
    assert crossing_probability(z, looks) == pytest.approx(0.025, abs=2e-4)


def test_a_single_look_spends_everything() -> None:
    assert pocock_level((8,), 0.05) == 0.05


def test_level_lies_between_bonferroni_and_alpha_and_falls_with_looks() -> None:
    assert 0.05 / 2 < pocock_level((8, 12), 0.05) < 0.05
    assert pocock_level((6, 8, 10, 12), 0.05) < pocock_level((8, 12), 0.05)


def test_level_by_simulation() -> None:
    random = np.random.default_rng(7)
    sums = random.standard_normal((40_000, 12)).cumsum(axis=1)
    level = pocock_level((6, 9, 12), 0.05)
    z = sums[:, [5, 8, 11]] / np.sqrt([6, 9, 12])
    crossed = np.any(z > -_normal_quantile(level), axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.004)


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


@pytest.mark.parametrize("looks", [(), (0, 3), (4, 4), (8, 6)])
def test_looks_must_increase(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        pocock_level(looks, 0.05)
