from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from soak_pipeline.analysis.decision import Decision
from soak_pipeline.analysis.fairness import (
    LookPlan,
    Pair,
    compare_pair,
    judge_fairness,
    pairs_needed,
    pass_probability,
)
from soak_pipeline.analysis.simulation import abba_pairs

ONE_LOOK = LookPlan((5,))


def _constant_pairs(ratios: list[float], samples: int = 100) -> list[Pair]:
    """Pairs whose percentile ratio is exactly as given: constant windows."""
    return [(np.full(samples, 100.0), np.full(samples, 100.0 * ratio)) for ratio in ratios]


def test_interval_by_hand() -> None:
    ratios = [1.0, 1.1, 1.05, 0.95, 1.02]
    (result,) = judge_fairness([_constant_pairs(ratios)], limit=1.2, plan=ONE_LOOK)
    logs = [math.log(ratio) for ratio in ratios]
    # Student's t with 4 degrees of freedom at 95 % one-sided: 2.131847.
    half = 2.131847 * statistics.stdev(logs) / math.sqrt(5)
    assert result.ratio == pytest.approx(math.exp(statistics.mean(logs)))
    assert result.lower == pytest.approx(math.exp(statistics.mean(logs) - half), rel=1e-5)
    assert result.upper == pytest.approx(math.exp(statistics.mean(logs) + half), rel=1e-5)
    assert result.confidence == pytest.approx(0.9)
    assert result.decision is Decision.PASS


def test_clear_harm_fails_and_names_the_bound() -> None:
    (result,) = judge_fairness([_constant_pairs([1.5, 1.45, 1.55, 1.5, 1.48])], limit=1.2, plan=ONE_LOOK)
    assert result.decision is Decision.FAIL
    assert "above the limit 1.2" in result.reason
    assert result.p_value_above_limit is not None
    assert result.p_value_above_limit < 0.001


def test_an_interval_that_holds_the_limit_is_open() -> None:
    (result,) = judge_fairness([_constant_pairs([1.1, 1.3, 1.2, 1.0, 1.4])], limit=1.2, plan=ONE_LOOK)
    assert result.decision is Decision.OPEN
    assert "holds the limit" in result.reason


def test_exactly_at_the_limit_passes() -> None:
    (result,) = judge_fairness([_constant_pairs([1.2] * 5)], limit=1.2, plan=ONE_LOOK)
    assert result.decision is Decision.PASS
    (result,) = judge_fairness([_constant_pairs([1.2001] * 5)], limit=1.2, plan=ONE_LOOK)
    assert result.decision is Decision.FAIL


def test_before_the_first_look_nothing_is_decided() -> None:
    (result,) = judge_fairness([_constant_pairs([1.0] * 4)], limit=1.2, plan=ONE_LOOK)
    assert result.decision is Decision.OPEN
    assert "first look needs 5" in result.reason
    (result,) = judge_fairness([[]], limit=1.2, plan=ONE_LOOK)
    assert (result.decision, result.ratio, result.p_value_above_limit) == (Decision.OPEN, None, None)


def test_a_window_without_enough_samples_blocks_a_pass_but_not_a_fail() -> None:
    pairs = _constant_pairs([1.0, 1.01, 1.0, 0.99, 1.0, 1.0])
    pairs[2] = (pairs[2][0], np.full(99, 100.0))
    (result,) = judge_fairness([pairs], limit=1.2, plan=ONE_LOOK)
    assert result.decision is Decision.OPEN
    assert "1 of 6 pairs" in result.reason
    assert result.pairs[2].ratio is None
    assert result.pairs_used == 5
    pairs = _constant_pairs([1.5, 1.51, 1.5, 1.49, 1.5, 1.5])
    pairs[2] = (pairs[2][0], [])
    (result,) = judge_fairness([pairs], limit=1.2, plan=ONE_LOOK)
    assert result.decision is Decision.FAIL


def test_holm_spares_a_tenant_that_only_seems_slow() -> None:
    suspicious = [1.22, 1.3, 1.2, 1.26, 1.25]
    (alone,) = judge_fairness([_constant_pairs(suspicious)], limit=1.2, plan=ONE_LOOK)
    assert alone.decision is Decision.FAIL
    calm = [_constant_pairs([1.0, 1.02, 0.98, 1.01, 1.0])] * 3
    among = judge_fairness([_constant_pairs(suspicious), *calm], limit=1.2, plan=ONE_LOOK)
    assert [result.decision for result in among] == [Decision.OPEN, Decision.PASS, Decision.PASS, Decision.PASS]
    assert "Holm" in among[0].reason
    assert among[0].p_value_above_limit_holm == pytest.approx(4 * (among[0].p_value_above_limit or 0))


def test_looking_again_costs_a_wider_interval() -> None:
    pairs = _constant_pairs([1.0, 1.1, 1.05, 0.95, 1.02])
    (once,) = judge_fairness([pairs], limit=1.2, plan=LookPlan((5,)))
    (twice,) = judge_fairness([pairs], limit=1.2, plan=LookPlan((5, 10)))
    assert once.upper is not None
    assert twice.upper is not None
    assert twice.upper > once.upper
    assert twice.confidence > once.confidence


def test_plan_knows_its_next_look() -> None:
    plan = LookPlan((6, 8, 10))
    assert [plan.next_look(pairs) for pairs in (0, 6, 7, 10)] == [6, 8, 8, None]
    assert plan.cap == 10
    with pytest.raises(ValueError, match="at least 3"):
        LookPlan((2, 8))


def test_percentile_of_a_pair_is_the_exact_order_statistic() -> None:
    result = compare_pair(np.arange(1, 201), np.arange(2, 402, 2), share=0.99, minimum_samples=100)
    assert (result.percentile_baseline, result.percentile_burst, result.ratio) == (198.0, 396.0, 2.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_impossible_latencies_are_refused(bad: float) -> None:
    pairs: list[Pair] = [(np.full(100, 1.0), np.full(100, bad))]
    with pytest.raises(ValueError, match="burst"):
        judge_fairness([pairs], limit=1.2, plan=ONE_LOOK)


def test_drift_cancels_in_abba_order() -> None:
    random = np.random.default_rng(1)
    pairs = abba_pairs(random, 8, 400, ratio=1.0, window_log_sd=0.0, drift_per_window=0.05)
    (result,) = judge_fairness([pairs], limit=1.2, plan=LookPlan((8,)))
    assert result.ratio == pytest.approx(1.0, abs=0.06)
    ordered = [(baseline, burst * 1.05) for baseline, burst in abba_pairs(random, 8, 400, ratio=1.0, window_log_sd=0.0)]
    (drifting,) = judge_fairness([ordered], limit=1.2, plan=LookPlan((8,)))
    assert drifting.ratio == pytest.approx(1.05, abs=0.06)


def test_power_formula_agrees_with_simulation() -> None:
    random = np.random.default_rng(2)
    plan = LookPlan((8,))
    passed = 0
    for _ in range(1500):
        logs = 0.2 * random.standard_normal(8)
        (result,) = judge_fairness([_constant_pairs(list(np.exp(logs)))], limit=1.2, plan=plan)
        passed += result.decision is Decision.PASS
    assert pass_probability(8, 0.2, limit=1.2, level=0.05) == pytest.approx(passed / 1500, abs=0.04)


def test_pairs_needed_grows_with_noise_and_gives_up() -> None:
    counts = [pairs_needed(sd, limit=1.2, level=0.05) for sd in (0.05, 0.1, 0.2)]
    assert all(count is not None for count in counts)
    assert counts == sorted(counts, key=lambda count: count or 0)
    needed = counts[1]
    assert needed is not None
    assert pass_probability(needed, 0.1, limit=1.2, level=0.05) >= 0.99
    assert pass_probability(needed - 1, 0.1, limit=1.2, level=0.05) < 0.99
    assert pairs_needed(5.0, limit=1.2, level=0.05) is None
    assert pass_probability(8, 0.0, limit=1.2, level=0.05) == 1.0
