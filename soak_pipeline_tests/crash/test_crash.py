"""Every scenario holds every limit. Half an hour of real runs: `pytest -m crash`."""

from __future__ import annotations

import pytest

from soak_pipeline_tests.crash.carrying_out import carry_out, unable
from soak_pipeline_tests.crash.scenarios import SCENARIOS, Scenario

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_limits_hold(scenario: Scenario) -> None:
    if reason := unable(scenario):
        pytest.skip(reason)
    assert [measurement.problems() for measurement in carry_out([scenario], print)] == [[]]
