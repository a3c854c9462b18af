from __future__ import annotations

import numpy as np
import pytest

from soak_pipeline.analysis.changepoints import _energy_statistics, change_points


def test_energy_statistic_by_its_definition() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0, 7.5])
    statistics = _energy_statistics(np.abs(values[:, None] - values[None, :]), 2)
    for split, found in zip((2, 3), statistics, strict=True):
        left, right = values[:split], values[split:]
        between = np.mean([abs(x - y) for x in left for y in right])
        inside = [
            np.mean([abs(x - y) for i, x in enumerate(part) for j, y in enumerate(part) if i != j])
            for part in (left, right)
        ]
        expected = len(left) * len(right) / 5 * (2 * between - inside[0] - inside[1])
        assert found == pytest.approx(expected)


def test_a_shift_is_found_where_it_happened() -> None:
    values = np.concatenate((np.full(12, 100.0), np.full(10, 130.0))) + np.random.default_rng(1).standard_normal(22)
    (change,) = change_points(values)
    assert change.index == 12
    assert change.before == pytest.approx(100.0, abs=1.0)
    assert change.after == pytest.approx(130.0, abs=1.0)
    assert change.p_value <= 0.01


def test_two_shifts_are_both_found() -> None:
    levels = np.repeat([100.0, 130.0, 90.0], 15)
    changes = change_points(levels + np.random.default_rng(2).standard_normal(45))
    assert [change.index for change in changes] == [15, 30]
    assert [round(change.after / 10) * 10 for change in changes] == [130, 90]


def test_the_same_history_gives_the_same_answer() -> None:
    values = np.random.default_rng(3).standard_normal(30)
    values[20:] += 2.0
    assert change_points(values) == change_points(values)


@pytest.mark.parametrize("values", [[], [1.0], [5.0] * 30, [1.0, 9.0, 1.0, 9.0, 1.0, 9.0, 1.0]])
def test_constant_or_short_histories_have_no_change(values: list[float]) -> None:
    assert change_points(values) == ()


def test_noise_rarely_changes() -> None:
    random = np.random.default_rng(4)
    assert sum(bool(change_points(random.standard_normal(30))) for _ in range(100)) <= 4


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="fewest_runs"):
        change_points([1.0], fewest_runs=1)
    with pytest.raises(ValueError, match="not finite"):
        change_points([1.0, float("nan")])
