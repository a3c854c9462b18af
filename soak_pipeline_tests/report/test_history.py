from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from soak_pipeline.report.history import StoredRun, history_html, stored_run, stored_runs, told_apart, write_history
from soak_pipeline_tests.policies import OF_RUN, profile_of
from soak_pipeline_tests.report import examples
from soak_pipeline_tests.report.runs import reported_run
from soak_pipeline_tests.report.test_html import Page


def run(number: int, verdict: str = "PASS", profile: str = "nightly", **figures: object) -> StoredRun:
    values: dict[str, object] = {
        "latency_ms_p95": {"A": 40.0 + number, "E": 41.0},
        "latency_ms_p99": {"A": 60.0, "E": 70.0 + number},
        "worst_ratio": 1.0 + number / 100,
        **figures,
    }
    return StoredRun(
        run_id=f"202611{number:02d}T010000Z",
        profile=profile,
        target="local",
        release=f"v{number}",
        verdict=verdict,
        why="because",
        **values,  # type: ignore[arg-type]
    )


def test_slowest_figures_are_those_of_the_slowest_tenant() -> None:
    assert (run(5).slowest_ms_p95, run(5).slowest_ms_p99) == (45.0, 75.0)
    assert run(5, latency_ms_p95={}).slowest_ms_p95 is None


def test_runs_of_one_profile_stand_together_and_newest_first() -> None:
    text = history_html([run(1), run(3, "FAIL"), run(2), run(4, profile="smoke")])
    page = Page(text)
    assert text.count("<h2>") == 2
    order = [text.index(f'href="202611{number:02d}T010000Z/report.html"') for number in (3, 2, 1, 4)]
    assert order == sorted(order)
    assert "3 runs: 2 PASS, 1 FAIL." in text
    assert len(page.ids) == len(set(page.ids))


def test_a_figure_that_no_run_has_draws_no_chart() -> None:
    with_memory = history_html([run(number, rss_bytes_slope_per_hour=2_097_152.0) for number in (1, 2)])
    assert "Steepest memory" in with_memory.replace("Steepest memory</th>", "")
    assert "Steepest memory" not in history_html([run(1), run(2)]).replace("Steepest memory</th>", "")


def test_one_run_is_no_trend() -> None:
    text = history_html([run(1)])
    assert "Trends begin with the second run." in text
    assert "<figure" not in text
    assert "Trends begin" not in history_html([run(1), run(2)])


def test_a_change_of_level_is_marked_in_its_chart_and_in_no_other() -> None:
    """From the tenth of 20 runs on, p95 of tenant E, the slowest, is 60 ms and not 41 ms; nothing else changes."""
    runs = [
        run(
            number,
            latency_ms_p95={"A": 40.0, "E": (41.0 if number < 10 else 60.0) + number % 3 / 10},
            latency_ms_p99={"A": 60.0, "E": 70.0 + number % 3 / 10},
            worst_ratio=1.0 + number % 3 / 100,
        )
        for number in range(1, 21)
    ]
    notes = re.findall(r"Dotted: the level went from ([\d.]+) ms to ([\d.]+) ms with run (\w+)\.", history_html(runs))
    assert [(round(float(before)), round(float(after)), first) for before, after, first in notes] == [
        (41, 60, "20261110T010000Z")
    ]


def test_no_runs_make_a_page_too() -> None:
    assert "No run has a verdict yet." in history_html([])


def test_hostile_text_is_shown_and_not_acted_on() -> None:
    hostile = StoredRun(
        run_id="20261101T010000Z",
        profile=examples.HOSTILE,
        target=examples.HOSTILE,
        release=examples.HOSTILE,
        verdict="FAIL",
        why=examples.HOSTILE,
    )
    text = history_html([hostile], [("20261102T010000Z", examples.HOSTILE)])
    assert Page(text).tags.count("script") == 1
    assert "&lt;script&gt;alert(1)" in text


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports")
    reported_run(path)
    return path


def test_a_run_of_another_load_is_no_history_of_its_profile(tmp_path: Path) -> None:
    smoke = profile_of("smoke")
    classic = profile_of("smoke", fairness_order="classic")
    quick = msgspec.structs.replace(classic.fairness, window_s=120.0)
    loads = [
        smoke,
        msgspec.structs.replace(smoke, users=120, soak_s=60.0),
        msgspec.structs.replace(classic, fairness=quick),
        msgspec.structs.replace(smoke, telemetry_interval_s=1.0),
    ]
    stored = [
        stored_run(reported_run(tmp_path / str(number), profile=load)[0]) for number, load in enumerate([*loads, smoke])
    ]
    runs = told_apart([replace(run, run_id=f"2026112{number}T073000Z") for number, run in enumerate(stored)])
    assert [run.profile == "smoke" for run in runs] == [True, False, False, False, True]
    assert len({run.profile for run in runs}) == len(loads)
    assert f"smoke, policy {OF_RUN}, load " in runs[1].profile


def test_a_stored_run_is_read_back_from_its_files(reports: Path) -> None:
    folder, final = reported_run(reports)
    stored = stored_run(folder)
    assert (stored.run_id, stored.verdict, stored.release) == (final.run_id, final.verdict, final.release)
    assert set(stored.latency_ms_p95) == set("ABCDE")
    assert stored.worst_ratio is not None
    assert stored.rss_bytes_slope_per_hour is None


def test_it_is_rebuilt_from_the_folders_alone(reports: Path) -> None:
    folder, _ = reported_run(reports)
    path = write_history(reports)
    assert path == reports / "soak" / "history.html"
    assert "1 run: 1 PASS." in path.read_text()
    (folder.path / "verdict.json").write_text("{")
    text = write_history(reports).read_text()
    assert "No run has a verdict yet." in text
    assert "Runs without a readable verdict" in text
    assert str(reports) not in text


def test_a_run_that_ended_without_a_verdict_is_told(reports: Path) -> None:
    folder, _ = reported_run(reports)
    (folder.path / "verdict.json").unlink()
    assert [(run_id, reason.partition(":")[0]) for run_id, reason in stored_runs(reports)[1]] == [
        (folder.run_id, "no verdict")
    ]
