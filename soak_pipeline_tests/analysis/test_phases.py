from __future__ import annotations

import math

import numpy as np
import pytest

from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.phases import compare_phases
from soak_pipeline.analysis.simulation import phase_latencies_ms


def _compare(ratio: float, *, drift: float = 0.0, build_up: float = 0.0, seed: int = 1) -> Decision:
    random = np.random.default_rng(seed)
    drift_log_per_s = math.log1p(drift) / 1200.0
    before = phase_latencies_ms(random, 0.0, 600.0, 20.0, drift_log_per_s=drift_log_per_s)
    times, values = phase_latencies_ms(random, 600.0, 600.0, 20.0, ratio=ratio, drift_log_per_s=drift_log_per_s)
    values = values * np.exp(build_up * (times - 600.0) / 600.0)
    return compare_phases(*before, times, values, limit=1.2).decision


def test_no_effect_passes_and_a_large_one_fails() -> None:
    assert _compare(1.0) is Decision.PASS
    assert _compare(1.5) is Decision.FAIL


def test_near_the_limit_is_open() -> None:
    assert _compare(1.2) is Decision.OPEN


def test_strong_drift_without_effect_does_not_fail() -> None:
    assert _compare(1.0, drift=0.8) is Decision.OPEN


def test_a_queue_that_builds_up_during_the_burst_does_not_pass() -> None:
    assert _compare(1.0, build_up=0.8) is Decision.OPEN


def test_as_measured_is_the_ratio_of_geometric_means() -> None:
    before = (np.repeat(np.arange(20) * 10.0, 100) + np.tile(np.linspace(0, 9.9, 100), 20), np.full(2000, 100.0))
    after = (before[0] + 200.0, np.full(2000, 110.0))
    result = compare_phases(*before, *after, limit=1.2)
    assert result.as_measured is not None
    assert result.as_measured.ratio == pytest.approx(1.1)
    assert result.decision is Decision.PASS
    assert (result.sub_windows_baseline, result.sub_windows_burst) == (20, 20)


def test_exactly_at_the_limit_passes_without_noise() -> None:
    times = np.repeat(np.arange(20) * 10.0, 100) + np.tile(np.linspace(0, 9.9, 100), 20)
    alternating = np.where((times // 10) % 2 == 0, 100.0, 100.0)
    assert compare_phases(times, alternating, times + 200, alternating * 1.2, limit=1.2).decision is Decision.PASS
    assert compare_phases(times, alternating, times + 200, alternating * 1.21, limit=1.2).decision is Decision.FAIL


def test_too_few_sub_windows_or_samples_are_open() -> None:
    random = np.random.default_rng(3)
    before = phase_latencies_ms(random, 0.0, 600.0, 20.0)
    short = phase_latencies_ms(random, 600.0, 50.0, 20.0)
    result = compare_phases(*before, *short, limit=1.2)
    assert (result.decision, result.as_measured) == (Decision.OPEN, None)
    assert "at least 8" in result.reason
    sparse = phase_latencies_ms(random, 600.0, 600.0, 2.0)
    assert compare_phases(*before, *sparse, limit=1.2).decision is Decision.OPEN
    assert compare_phases([], [], *before, limit=1.2).decision is Decision.OPEN


def test_a_phase_with_a_hole_is_open() -> None:
    random = np.random.default_rng(4)
    before = phase_latencies_ms(random, 0.0, 600.0, 20.0)
    times, values = phase_latencies_ms(random, 600.0, 600.0, 20.0)
    kept = (times < 800) | (times > 950)
    result = compare_phases(*before, times[kept], values[kept], limit=1.2)
    assert result.decision is Decision.OPEN
    assert "lost" in result.reason


def test_several_stretches_stand_against_one_long_burst() -> None:
    random = np.random.default_rng(5)
    spans = [(index * 60.0, index * 60.0 + 30.0) for index in range(6)]
    stretches = [phase_latencies_ms(random, start, 30.0, 30.0) for start, _ in spans]
    times = np.concatenate([part[0] for part in stretches])
    values = np.concatenate([part[1] for part in stretches])
    burst = phase_latencies_ms(random, 360.0, 300.0, 30.0, ratio=1.5)
    unaware = compare_phases(times, values, *burst, limit=1.2)
    assert "lost" in unaware.reason
    aware = compare_phases(times, values, *burst, limit=1.2, baseline_spans_s=spans)
    assert aware.decision is Decision.FAIL
    assert (aware.sub_windows_baseline, aware.sub_windows_burst) == (18, 30)


def test_a_phase_that_ended_early_is_noticed_by_its_plan() -> None:
    random = np.random.default_rng(6)
    before = phase_latencies_ms(random, 0.0, 600.0, 20.0)
    after = phase_latencies_ms(random, 600.0, 400.0, 20.0)
    assert compare_phases(*before, *after, limit=1.2).decision is Decision.PASS
    planned = compare_phases(*before, *after, limit=1.2, burst_spans_s=[(600.0, 1200.0)])
    assert planned.decision is Decision.OPEN
    assert "33 % lost" in planned.reason


@pytest.mark.parametrize(("name", "value"), [("limit", 0.0), ("sub_window_s", 0.0), ("alpha", 1.0)])
def test_bad_parameters_are_refused(name: str, value: float) -> None:
    arguments = {"limit": 1.2, name: value}
    with pytest.raises(ValueError, match=name):
        compare_phases([1.0], [1.0], [2.0], [1.0], **arguments)
