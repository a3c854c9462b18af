from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.simulation import ar1_noise, logarithmic, regular_times_s, saturating, sawtooth, step
from soak_pipeline.analysis.trends import GrowthVerdict, judge_growth

HOUR_S = 3600.0
DAY_S = 86_400.0
TIMES_S = regular_times_s(721, 5.0)
MB_PER_DAY = 1.0 / DAY_S


def _noise(seed: int = 1, phi: float = 0.5) -> np.ndarray:
    return ar1_noise(np.random.default_rng(seed), TIMES_S.size, phi)


def _judge(values: np.ndarray, headroom: float = 200.0) -> GrowthVerdict:
    return judge_growth(TIMES_S, values, headroom=headroom)


def test_flat_noise_passes_within_a_fair_headroom() -> None:
    verdict = _judge(300.0 + _noise())
    assert verdict.decision is Decision.PASS
    assert verdict.shape == "line"
    assert verdict.growth_projected_upper is not None
    assert verdict.growth_projected_upper <= 200.0


def test_no_trend_is_no_pass_when_the_run_is_too_noisy_to_know() -> None:
    verdict = _judge(300.0 + 40.0 * _noise())
    assert verdict.decision is Decision.OPEN
    assert "from within the headroom to beyond it" in verdict.reason


def test_a_leak_fails_with_its_slope_and_time_to_exhaustion() -> None:
    verdict = _judge(300.0 + 2000.0 * MB_PER_DAY * TIMES_S + _noise())
    assert verdict.decision is Decision.FAIL
    assert verdict.slope_per_s == pytest.approx(2000.0 * MB_PER_DAY, rel=0.1)
    assert verdict.slope_lower_per_s is not None
    assert verdict.slope_upper_per_s is not None
    assert verdict.slope_lower_per_s < 2000.0 * MB_PER_DAY < verdict.slope_upper_per_s
    # 200 at 2,000 per day last a tenth of a day.
    assert verdict.exhaustion_s == pytest.approx(0.1 * DAY_S, rel=0.1)
    assert verdict.exhaustion_earliest_s is not None
    assert verdict.exhaustion_earliest_s < verdict.exhaustion_s
    assert verdict.p_value_mann_kendall is not None
    assert verdict.p_value_mann_kendall < 0.01


def test_a_leak_within_the_headroom_passes() -> None:
    assert _judge(300.0 + 20.0 * MB_PER_DAY * TIMES_S + _noise(), headroom=400.0).decision is Decision.PASS


def test_growth_exactly_at_the_headroom_keeps_it() -> None:
    exact = 0.25 * TIMES_S
    assert judge_growth(TIMES_S, exact, headroom=0.25 * DAY_S, resolution=0.0).decision is Decision.PASS
    assert judge_growth(TIMES_S, exact, headroom=0.2499 * DAY_S, resolution=0.0).decision is Decision.FAIL


def test_what_is_detectable_is_detected() -> None:
    quiet = _judge(300.0 + _noise(), headroom=1e-6)
    assert quiet.detectable_slope_per_s is not None
    found = 0
    for seed in range(40):
        leak = quiet.detectable_slope_per_s * TIMES_S
        found += judge_growth(TIMES_S, 300.0 + leak + _noise(seed), headroom=1e-6).decision is Decision.FAIL
    assert found >= 28


def test_a_healthy_sawtooth_passes_and_a_leaking_one_fails() -> None:
    random = np.random.default_rng(3)
    teeth = sawtooth(random, TIMES_S, 100.0, 60.0)
    healthy = _judge(300.0 + teeth + _noise())
    assert (healthy.decision, healthy.shape) == (Decision.PASS, "sawtooth")
    leaking = _judge(300.0 + teeth + 2000.0 * MB_PER_DAY * TIMES_S + _noise())
    assert (leaking.decision, leaking.shape) == (Decision.FAIL, "sawtooth")


def test_few_clean_ups_leave_growth_open() -> None:
    values = 300.0 + 60.0 * ((TIMES_S + 600.0) % 1300.0) / 1300.0 + 0.2 * _noise()
    verdict = _judge(values)
    assert verdict.decision is Decision.OPEN
    assert 0 < verdict.drops < 6


def test_a_warm_up_that_ends_passes_and_one_with_a_leak_fails() -> None:
    warm = 300.0 + saturating(TIMES_S, 300.0, 100.0)
    healthy = _judge(warm + _noise())
    assert (healthy.decision, healthy.shape) == (Decision.PASS, "saturating")
    assert _judge(warm + 2000.0 * MB_PER_DAY * TIMES_S + _noise()).decision is Decision.FAIL


def test_a_warm_up_that_has_not_ended_is_open() -> None:
    verdict = _judge(300.0 + saturating(TIMES_S, 2400.0, 100.0) + _noise())
    assert verdict.decision is Decision.OPEN
    assert verdict.is_slowing_down


def test_a_logarithmic_rise_is_a_warm_up_that_has_not_ended() -> None:
    verdict = _judge(300.0 + logarithmic(TIMES_S, 30.0, 30.0) + 0.3 * _noise(), headroom=50.0)
    assert verdict.decision is Decision.OPEN
    assert "slows down" in verdict.reason


@pytest.mark.parametrize(("counts", "per_day"), [(0, 24.0), (1, 48.0), (3, 96.0), (8, 24.0)])
def test_a_small_step_of_a_counter_is_charged_as_growth(counts: int, per_day: float) -> None:
    # Unseen growth of one count per hour, and the step itself where it is too small to be a settling.
    verdict = _judge(40.0 + step(TIMES_S, 1500.0, float(counts)))
    assert verdict.growth_projected_upper == pytest.approx(per_day, rel=0.02)
    assert verdict.decision is Decision.PASS


def test_a_single_step_is_no_leak() -> None:
    verdict = _judge(300.0 + step(TIMES_S, 1500.0, 50.0) + _noise())
    assert (verdict.decision, verdict.shape) == (Decision.PASS, "step")


def test_a_late_rise_does_not_pass() -> None:
    late = 300.0 + np.clip(TIMES_S - 2400.0, 0.0, None) / 1200.0 * 60.0
    assert _judge(late + _noise()).decision is not Decision.PASS
    verdict = _judge(late + _noise(), headroom=4250.0)
    assert verdict.decision is Decision.OPEN
    assert "last third" in verdict.reason


def test_a_drop_at_the_start_leaves_the_rise_after_it_open() -> None:
    rise = 180.0 * (TIMES_S - 30.0) / HOUR_S
    verdict = _judge(np.where(TIMES_S < 30.0, 60.0, rise) + 0.3 * _noise())
    assert verdict.decision is Decision.OPEN
    assert "1 clean-ups were seen" in verdict.reason


def test_troughs_that_stopped_rising_do_not_fail() -> None:
    random = np.random.default_rng(0)
    troughs = 10.0 * np.clip(TIMES_S, 0.0, 2400.0) / 2400.0
    values = 300.0 + sawtooth(random, TIMES_S, 60.0, 60.0) + troughs + 2.5 * random.standard_normal(TIMES_S.size)
    verdict = judge_growth(TIMES_S, values, headroom=20.0, resolution=0.0)
    assert verdict.decision is Decision.OPEN
    assert "in the last third by no more" in verdict.reason


def test_growth_that_stopped_does_not_fail() -> None:
    stopped = 300.0 + np.clip(TIMES_S, 0.0, 2500.0) / 2500.0 * 60.0
    assert _judge(stopped + _noise()).decision is not Decision.FAIL


@pytest.mark.parametrize("constant", [17.0, 17.5, 0.0, 2.5e9])
def test_a_constant_passes(constant: float) -> None:
    verdict = _judge(np.full(TIMES_S.size, constant))
    assert verdict.decision is Decision.PASS
    assert verdict.slope_per_s == 0.0
    assert verdict.exhaustion_s is None


def test_a_constant_counter_claims_no_more_than_its_resolution() -> None:
    # One count less than a step per hour could hide: up to 24 per day.
    verdict = _judge(np.full(TIMES_S.size, 17.0), headroom=48.0)
    assert verdict.growth_projected_upper == pytest.approx(24.0, rel=0.02)
    assert _judge(np.full(TIMES_S.size, 17.0), headroom=20.0).decision is Decision.OPEN


@pytest.mark.parametrize(("per_hour", "decision"), [(0, Decision.PASS), (6, Decision.FAIL), (60, Decision.FAIL)])
def test_counters_in_whole_steps(per_hour: int, decision: Decision) -> None:
    values = np.floor(40.5 + per_hour * TIMES_S / HOUR_S)
    assert _judge(values, headroom=48.0).decision is decision


def test_many_series_need_stronger_evidence_each() -> None:
    values = 300.0 + 5.2 * TIMES_S / HOUR_S + ar1_noise(np.random.default_rng(5), TIMES_S.size, 0.8) * 2.0
    alone = judge_growth(TIMES_S, values, headroom=1.0)
    among = judge_growth(TIMES_S, values, headroom=1.0, family=100_000)
    assert alone.decision is Decision.FAIL
    assert among.decision is Decision.OPEN
    assert "less than 1e-08 is needed" in among.reason
    assert among.significance == pytest.approx(alone.significance / 100_000)
    assert (among.detectable_slope_per_s or 0.0) > (alone.detectable_slope_per_s or 0.0)
    with pytest.raises(ValueError, match="family"):
        judge_growth(TIMES_S, values, headroom=1.0, family=0)


def test_missing_samples_are_gaps() -> None:
    values = 300.0 + 2000.0 * MB_PER_DAY * TIMES_S + _noise()
    values[::7] = np.nan
    assert _judge(values).decision is Decision.FAIL
    values[100:400] = np.nan
    verdict = _judge(values)
    assert verdict.decision is Decision.OPEN
    assert "covered" in verdict.reason


@pytest.mark.parametrize("samples", [0, 1, 2, 19])
def test_a_short_series_is_open(samples: int) -> None:
    verdict = judge_growth(TIMES_S[:samples], np.full(samples, 5.0), headroom=10.0)
    assert verdict.decision is Decision.OPEN
    assert verdict.shape == "none"
    assert "at least 20" in verdict.reason
    assert verdict.slope_per_s is None


def test_all_samples_missing_is_open() -> None:
    assert _judge(np.full(TIMES_S.size, np.nan)).decision is Decision.OPEN


def test_a_restart_does_not_hide_a_leak() -> None:
    half = TIMES_S >= 1200.0
    leak = 4000.0 * MB_PER_DAY * np.where(half, TIMES_S - 1200.0, TIMES_S)
    starts = np.where(half, 1195.0, -50.0)
    verdict = judge_growth(TIMES_S, 300.0 + leak + _noise(), headroom=200.0, process_start_s=starts)
    assert verdict.decision is Decision.FAIL
    assert verdict.restarts == 1
    assert verdict.duration_s == pytest.approx(2400.0)


@pytest.mark.parametrize("arguments", [{"headroom": 0.0}, {"headroom": 1.0, "horizon_s": 0.0}, {"headroom": np.inf}])
def test_bad_budgets_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        judge_growth([0.0, 1.0], [1.0, 1.0], **arguments)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    stretch=st.sampled_from([1.0, 4.0]),
    leak=st.sampled_from([0.0, 0.5, 5.0, 50.0]),
)
def test_units_do_not_change_the_answer(seed: int, scale: float, stretch: float, leak: float) -> None:
    random = np.random.default_rng(seed)
    times = regular_times_s(120, 20.0)
    values = 100.0 + leak * times / times[-1] + ar1_noise(random, 120, 0.5)
    plain = judge_growth(times, values, headroom=50.0, horizon_s=DAY_S, resolution=0.0)
    scaled = judge_growth(
        times * stretch, values * scale, headroom=50.0 * scale, horizon_s=DAY_S * stretch, resolution=0.0
    )
    assert scaled.decision is plain.decision
    if plain.slope_per_s is not None and scaled.slope_per_s is not None:
        assert scaled.slope_per_s == pytest.approx(plain.slope_per_s * scale / stretch, rel=1e-6, abs=1e-12 * scale)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_more_headroom_never_turns_a_pass(seed: int) -> None:
    random = np.random.default_rng(seed)
    times = regular_times_s(80, 15.0)
    values = 100.0 + ar1_noise(random, 80, 0.8)
    order = {Decision.FAIL: 0, Decision.OPEN: 1, Decision.PASS: 2}
    ranks = [order[judge_growth(times, values, headroom=h).decision] for h in (1.0, 100.0, 1e3, 1e6)]
    assert ranks == sorted(ranks)
