"""The yardstick itself: a broken limit is seen, and the table stands where it belongs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline_tests.crash import carrying_out
from soak_pipeline_tests.crash.measurement import Measurement
from soak_pipeline_tests.crash.observing import soak_request_ids
from soak_pipeline_tests.crash.running import CannotStart, Run, Surroundings, short_plan
from soak_pipeline_tests.crash.scenarios import SCENARIOS, End
from soak_pipeline_tests.crash.table import BEGIN, END, as_markdown, publish

STOPS = next(scenario for scenario in SCENARIOS if scenario.end is End.STOPS)
GOES_ON = next(scenario for scenario in SCENARIOS if scenario.end is End.GOES_ON)
WITHIN = Measurement(
    scenario=STOPS,
    load_ended_s=10.0,
    blocked_s=30.0,
    blocked_by_stop=False,
    evidence_lost_s=5.0,
    rows_without_record=0,
    verdict="none",
    said="",
    judged="INCONCLUSIVE",
    left=(),
    next_run_s=40.0,
)


def test_exactly_at_the_limits_is_within() -> None:
    assert WITHIN.problems() == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"load_ended_s": 10.1}, "last request 10.1 s after the event, limit 10 s"),
        ({"blocked_s": 30.1}, "tenants blocked after 30.1 s, limit 30 s"),
        ({"blocked_s": None}, "tenants are not blocked"),
        ({"evidence_lost_s": 5.1}, "records end 5.1 s before the event, limit 5 s"),
        ({"rows_without_record": 1}, "1 executions of before that have no record on disk"),
        (
            {"verdict": "PASS", "said": "the load was cut short"},
            "verdict PASS, judged again INCONCLUSIVE; neither may be PASS",
        ),
        ({"verdict": "INCONCLUSIVE"}, "the verdict does not tell of the event; a longer run could pass"),
        ({"judged": "PASS"}, "verdict none, judged again PASS; neither may be PASS"),
        ({"left": ("lock embedded.lock",)}, "left behind: lock embedded.lock"),
        ({"next_run_s": None}, "the next run did not come to its soak"),
    ],
)
def test_each_broken_limit_is_named(change: dict[str, Any], problem: str) -> None:
    assert dataclasses.replace(WITHIN, **change).problems() == [problem]


def test_a_run_that_goes_on_may_send() -> None:
    assert dataclasses.replace(WITHIN, scenario=GOES_ON, load_ended_s=25.0).problems() == []


def test_a_row_replaces_the_one_before_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"above\n{BEGIN}\n\nold\n\n{END}\nbelow\n")
    publish([dataclasses.replace(WITHIN, scenario=GOES_ON), WITHIN], [("disk", "no root")], path)
    publish([dataclasses.replace(WITHIN, load_ended_s=3.4)], [], path)
    text = path.read_text()
    assert text.startswith(f"above\n{BEGIN}\n\n| event |")
    assert text.endswith(f"|\n\n{END}\nbelow\n")
    assert "old" not in text
    assert "no root" not in text
    events = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][2:]
    assert events == [f"| {scenario.what} (`{scenario.route}`)" for scenario in (STOPS, GOES_ON)]
    assert "| 3.4 |" in text
    path.write_text("nowhere\n")
    with pytest.raises(ValueError, match="no place for the table"):
        publish([WITHIN], [], path)


def test_what_was_not_measured_is_said() -> None:
    assert "Not measured: disk: no root." in as_markdown([WITHIN], [("disk", "no root")])


@pytest.mark.parametrize(
    ("phase", "seconds_left", "soaks"), [("soak", 8.0, True), ("soak", 7.9, False), ("warmup", 8.0, False)]
)
def test_a_soak_that_is_over_is_not_broken(tmp_path: Path, phase: str, seconds_left: float, soaks: bool) -> None:
    run = Run(Surroundings(tmp_path), RunFolder(tmp_path, "20261123T073000Z"))
    run.folder.control_dir.mkdir(parents=True)
    progress = {
        "session": "soak", "phase": phase, "window": 1, "windows": 2, "users": 50, "requests_per_second": 100.0,
        "latency_ms_p95": {}, "outcomes": {}, "seconds_left": seconds_left,
    }  # fmt: skip
    (run.folder.control_dir / "progress.json").write_text(json.dumps(progress))
    if soaks:
        run.require_soaking()
    else:
        with pytest.raises(CannotStart, match="is over, or nearly, before anything was broken"):
            run.require_soaking()


def test_without_the_program_the_scenario_of_prometheus_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wants = next(scenario for scenario in SCENARIOS if scenario.prometheus)
    monkeypatch.setattr(carrying_out, "PROMETHEUS", "/usr/bin/prometheus")
    assert carrying_out.unable(wants) == ""
    monkeypatch.setattr(carrying_out, "PROMETHEUS", None)
    assert carrying_out.unable(wants).startswith("prometheus is not installed")


def test_the_target_of_a_run_names_the_prometheus_that_was_started() -> None:
    assert short_plan("20261123T073000Z").target.prometheus_url is None
    url = "http://127.0.0.1:34390"
    assert short_plan("20261123T073000Z", prometheus_url=url).target.prometheus_url == url


def test_request_ids_are_those_of_the_plan_alone() -> None:
    plan = short_plan("20261123T073000Z")
    ids = soak_request_ids(plan, requests_per_user=2)
    assert len(ids) == 2 * sum(tenant.soak_users for tenant in plan.tenants)
    assert set(soak_request_ids(short_plan("20261123T073001Z"), requests_per_user=2)).isdisjoint(ids)


def test_names_are_unique_and_every_scenario_says_how_it_ends() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert all(scenario.mechanism for scenario in SCENARIOS)
