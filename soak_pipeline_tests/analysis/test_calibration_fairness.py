"""The calibration of the fairness shape of nightly and pre-release."""

from __future__ import annotations

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.analysis import calibration_fairness
from soak_pipeline.analysis.calibration import calibrate
from soak_pipeline.analysis.calibration_fairness import main, scenarios
from soak_pipeline.analysis.fairness import pass_probability
from soak_pipeline.analysis.power import log_ratio_sd
from soak_pipeline.criteria.fairness.decision import SHORTEST_SUB_WINDOW_S
from soak_pipeline_tests.policies import profile_of


def documented_rows() -> list[list[str]]:
    text = (PROJECT_ROOT / "docs" / "criteria.md").read_text(encoding="utf-8")
    table = text.split("<!-- fairness calibration table: begin -->")[1]
    lines = table.split("<!-- fairness calibration table: end -->")[0].splitlines()
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line[:2] == "| "][1:]


@pytest.mark.parametrize("level", ["nightly", "pre_release"])
def test_the_shape_is_that_of_the_level(level: str) -> None:
    fairness = profile_of(level).fairness
    classic = profile_of(level, fairness_order="classic").fairness

    assert fairness.quiet_users == fairness.noisy_users_baseline == 10
    assert fairness.noisy_users_burst == 500
    assert calibration_fairness.PLAN.pairs_at_look == fairness.pairs_by_look
    assert fairness.quiet_users / fairness.quiet_pace_s == calibration_fairness.REQUESTS_PER_S
    assert (fairness.window_s, fairness.settle_s) == (calibration_fairness.WINDOW_S, calibration_fairness.SETTLE_S)
    assert classic.window_s == calibration_fairness.CLASSIC_S
    assert calibration_fairness.SUB_WINDOW_S == SHORTEST_SUB_WINDOW_S
    assert set(fairness.quiet_mix) == {"allowed"}


def test_every_scenario_runs_and_its_shares_add_up() -> None:
    for row in calibrate(scenarios(), repetitions=1):
        assert row.share_pass + row.share_fail + row.share_open == pytest.approx(1.0)


def test_an_effect_far_beyond_the_limit_is_found_in_any_single_run() -> None:
    chosen = [scenario for scenario in scenarios() if "1.5" in scenario.truth]

    assert [row.share_fail for row in calibrate(chosen, repetitions=3)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("arguments", [["--repetitions", "0"], ["--only", "no such rule"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)


def test_the_documented_table_has_every_scenario_and_misses_no_target() -> None:
    rows = documented_rows()

    assert [tuple(row[:2]) for row in rows] == [(scenario.rule, scenario.truth) for scenario in scenarios()]
    assert not any("no" in row[-1] for row in rows)


def test_the_power_that_the_preview_computes_is_that_of_the_table() -> None:
    """Two methods: the non-central t at the cap, and simulated latencies with all looks."""
    documented = {(row[0], row[1]): float(row[2].rstrip("%")) / 100.0 for row in documented_rows()}
    sd = log_ratio_sd(calibration_fairness.SAMPLES, 0.99)
    plan = calibration_fairness.PLAN

    for ratio in (1.0, 1.1):
        computed = pass_probability(plan.cap, sd, limit=1.2, level=plan.level, true_ratio=ratio)
        assert documented[calibration_fairness.RULE_ONE, f"ratio {ratio}"] == pytest.approx(computed, abs=0.06)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_target_is_met() -> None:
    missed = [row for row in calibrate(scenarios(), repetitions=300) if row.is_met is False]

    assert missed == []
