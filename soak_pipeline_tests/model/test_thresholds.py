from __future__ import annotations

import pytest

from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.thresholds import with_overrides
from soak_pipeline_tests.policies import default_thresholds


def test_the_budgets_of_the_gate() -> None:
    limits = default_thresholds()
    assert (limits.gateway_latency_ms_p95_max, limits.fairness_latency_p99_ratio_max) == (250.0, 1.20)


def test_an_override_changes_one_limit_only() -> None:
    changed = with_overrides(default_thresholds(), {"gateway_latency_ms_p95_max": 100.0})
    assert changed.gateway_latency_ms_p95_max == 100.0
    assert changed.fairness_latency_p99_ratio_max == 1.20


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_only_finite_limits(value: float) -> None:
    with pytest.raises(BadInput, match="finite number"):
        with_overrides(default_thresholds(), {"gateway_latency_ms_p95_max": value})


def test_unknown_limits_are_named_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"unknown threshold 'p95'.*gateway_latency_ms_p95_max"):
        with_overrides(default_thresholds(), {"p95": 1.0})
