from __future__ import annotations

import numpy as np
import pytest

from soak_pipeline.analysis.series import cleaned
from soak_pipeline.analysis.settling import find_settling
from soak_pipeline.analysis.simulation import ar1_noise, logarithmic, regular_times_s, saturating, step

TIMES_S = regular_times_s(240, 15.0)


def _noise(seed: int = 1, phi: float = 0.3) -> np.ndarray:
    return ar1_noise(np.random.default_rng(seed), 240, phi)


def test_a_warm_up_is_found_with_its_size_and_time() -> None:
    search = find_settling(cleaned(TIMES_S, 300.0 + saturating(TIMES_S, 400.0, 100.0) + _noise()))
    assert search.settled is not None
    assert search.settled.kind == "saturating"
    assert search.settled.scale_s == pytest.approx(400.0, rel=0.3)
    assert search.settled.amplitude == pytest.approx(100.0, rel=0.2)
    assert not search.is_slowing_down


def test_a_step_is_found_where_it_happened() -> None:
    search = find_settling(cleaned(TIMES_S, 300.0 + step(TIMES_S, 1500.0, 20.0) + _noise()))
    assert search.settled is not None
    assert search.settled.kind == "step"
    assert search.settled.scale_s == pytest.approx(1500.0, abs=90.0)


@pytest.mark.parametrize("seed", range(5))
def test_neither_noise_nor_a_line_settles(seed: int) -> None:
    for values in (_noise(seed), _noise(seed, 0.8), 300.0 + 0.02 * TIMES_S + _noise(seed)):
        search = find_settling(cleaned(TIMES_S, values))
        assert search.settled is None
        assert not search.is_slowing_down


@pytest.mark.parametrize("values", [saturating(TIMES_S, 3000.0, 150.0), logarithmic(TIMES_S, 30.0, 30.0)])
def test_a_warm_up_that_has_not_ended_is_slowing_down(values: np.ndarray) -> None:
    assert find_settling(cleaned(TIMES_S, 300.0 + values + _noise())).is_slowing_down


def test_a_warm_up_with_a_leak_is_not_merely_slowing_down() -> None:
    search = find_settling(cleaned(TIMES_S, 300.0 + saturating(TIMES_S, 300.0, 100.0) + 0.01 * TIMES_S + _noise()))
    assert search.settled is not None
    assert not search.is_slowing_down


def test_short_and_constant_series_settle_nowhere() -> None:
    assert find_settling(cleaned(np.arange(10.0), np.arange(10.0))).settled is None
    assert find_settling(cleaned(TIMES_S, np.full(240, 5.0))).settled is None
    assert find_settling(cleaned([0.0], [1.0])).settled is None
