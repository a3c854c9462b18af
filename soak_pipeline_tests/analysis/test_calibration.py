from __future__ import annotations

import subprocess
import sys

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.analysis.calibration import CalibrationRow, calibrate, main, markdown_table, scenarios
from soak_pipeline_tests.waiting import PATIENCE_S


def test_every_scenario_runs_and_its_shares_add_up() -> None:
    for row in calibrate(scenarios(), repetitions=1):
        assert row.share_pass + row.share_fail + row.share_open == pytest.approx(1.0)


def test_names_are_unique_and_every_rule_guards_both_errors() -> None:
    names = [(scenario.rule, scenario.truth) for scenario in scenarios()]
    assert len(names) == len(set(names))
    rules = {scenario.rule for scenario in scenarios()}
    assert {scenario.rule for scenario in scenarios() if scenario.most_fail is not None} == rules
    assert {scenario.rule for scenario in scenarios() if scenario.most_pass is not None} == rules


def test_a_row_is_the_same_whatever_else_is_simulated() -> None:
    chosen = [scenario for scenario in scenarios() if "error share" in scenario.rule]
    together = calibrate(chosen, repetitions=20)
    assert [calibrate([scenario], repetitions=20)[0] for scenario in chosen] == together


@pytest.mark.parametrize(
    ("share_fail", "most_fail", "is_met"), [(0.01, 0.01, True), (0.05, 0.01, False), (0.9, None, None)]
)
def test_a_missed_target_is_shown(share_fail: float, most_fail: float | None, is_met: bool | None) -> None:
    row = CalibrationRow("rule", "truth", 1000, 0.0, share_fail, 1.0 - share_fail, most_fail, None)
    assert row.is_met is is_met
    assert ("**no**" in markdown_table([row])) is (is_met is False)


def test_the_command_prints_a_table() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "soak_pipeline.analysis.calibration", "--repetitions", "5", "--only", "error share"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("| rule | truth |")
    assert len(result.stdout.splitlines()) == 6


@pytest.mark.parametrize("arguments", [["--repetitions", "0"], ["--only", "no such rule"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)


def test_the_documented_table_has_every_scenario_and_misses_no_target() -> None:
    text = (PROJECT_ROOT / "docs" / "criteria.md").read_text(encoding="utf-8")
    table = text.split("<!-- calibration table: begin -->")[1].split("<!-- calibration table: end -->")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines() if line[:2] == "| "]

    assert [tuple(row[:2]) for row in rows[1:]] == [(scenario.rule, scenario.truth) for scenario in scenarios()]
    assert "**no**" not in table


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_target_is_met() -> None:
    missed = [row for row in calibrate(scenarios(), repetitions=300) if row.is_met is False]
    assert missed == []
