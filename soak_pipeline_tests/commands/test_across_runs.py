"""`soak compare` and `soak history` over stored runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soak_pipeline.commands.across_runs import compare_stored, show_history
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.plan import RUN_ID_FORMAT, run_id_of
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline.stages.report import report_folder
from soak_pipeline_tests.evidence_defects import slow_down
from soak_pipeline_tests.evidence_factory import SyntheticRun, make_run


def test_runs_of_two_profiles_are_not_compared(tmp_path: Path) -> None:
    smoke = make_run(tmp_path / "smoke")
    other = make_run(tmp_path / "other", profile="pull_request")
    with pytest.raises(BadInput, match="different loads"):
        compare_stored(smoke.path, other.path, 0.05)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_is_a_share(tmp_path: Path, margin: float) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        compare_stored(tmp_path, tmp_path, margin)


def test_a_run_compared_with_itself_is_not_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path)
    assert compare_stored(folder.path, folder.path, 0.05) == 0
    shown = capsys.readouterr().out
    assert "latency_ms_p50" in shown
    assert "worse" not in shown
    assert "0 other stored runs of this load, fewer than the 5" in shown


def test_a_difference_that_runs_of_one_release_show_is_not_called_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tenant A takes 30 % longer; the stored nights differ from each other by about as much, or hardly."""

    def slower(run: SyntheticRun) -> None:
        slow_down(run, 1.3, phase="soak", tenant="A")

    answers = {}
    for spread in (0.01, 0.3):
        reports = tmp_path / f"{spread}"
        nights(reports, np.exp(spread * np.random.default_rng(4).standard_normal(12)))
        reference = make_run(reports, run_id="20270101T073000Z", seed=2)
        candidate = make_run(reports, run_id="20270102T073000Z", seed=3, defects=[slower])
        compare_stored(reference.path, candidate.path, 0.05)
        shown = capsys.readouterr().out
        assert "that of 12 other stored runs of this load" in shown
        answers[spread] = next(
            line.split()[-1] for line in shown.splitlines() if line.startswith("A       latency_ms_p50")
        )

    assert answers == {0.01: "worse", 0.3: "unknown"}


def test_history_lists_the_runs_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path)
    report_folder(folder, judge_folder(folder, {}))
    assert show_history(tmp_path) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"{folder.run_id}  PASS +[\d.]+ ms +[\d.]+ ms +1\.\d\dx", shown)
    assert (tmp_path / "soak" / "history.html").is_file()


def test_a_figure_that_a_run_has_not_is_a_dash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path)
    report_folder(folder, judge_folder(folder, {}))
    for path in (folder.path, folder.fairness_path):
        assert path is not None
        (path / "comparison.json").unlink()
    show_history(tmp_path)
    heading, line = capsys.readouterr().out.splitlines()[1:3]
    assert line[heading.index("worst rise") :].split()[0] == "–"


def nights(reports: Path, factors: Iterable[float]) -> None:
    """One reported run, and copies of it on the following nights with every latency multiplied."""
    first = make_run(reports)
    report_folder(first, judge_folder(first, {}))
    verdict, latency = (json.loads((first.path / name).read_text()) for name in ("verdict.json", "latency.json"))
    comparison = (first.path / "comparison.json").read_text()
    for night, factor in enumerate(factors):
        moment = datetime.strptime(first.run_id, RUN_ID_FORMAT).replace(tzinfo=UTC) + timedelta(days=night)
        folder = RunFolder(reports, run_id_of(moment))
        folder.create()
        (folder.path / "plan.json").write_bytes((first.path / "plan.json").read_bytes())
        (folder.path / "verdict.json").write_text(json.dumps({**verdict, "run_id": folder.run_id}))
        (folder.path / "latency.json").write_text(json.dumps({**latency, "rows": _scaled(latency["rows"], factor)}))
        (folder.path / "comparison.json").write_text(comparison)


def _scaled(value: Any, factor: float) -> Any:
    """The same JSON with every percentile's figures multiplied."""
    if isinstance(value, dict):
        return {
            key: inner * factor if key in ("value", "lower", "upper") and inner is not None else _scaled(inner, factor)
            for key, inner in value.items()
        }
    return [_scaled(inner, factor) for inner in value] if isinstance(value, list) else value


def history_of(reports: Path, factors: Iterable[float], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines of changes and trends in the history of such nights."""
    nights(reports, factors)
    assert show_history(reports) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("  2026") for line in lines) == 30
    found = [line for line in lines if line.startswith(("  change of", "  trend of"))]
    page = (reports / "soak" / "history.html").read_text(encoding="utf-8")
    assert [f"<li>{escape(line.strip())}</li>" in page for line in found] == [True] * len(found)
    return found


def test_thirty_stable_nights_show_neither_change_nor_trend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scatter = np.exp(0.05 * np.random.default_rng(1).standard_normal(30))

    assert history_of(tmp_path, scatter, capsys) == []


def test_a_release_that_is_slower_is_a_change_at_its_first_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each night scatters by 5 %; from the nineteenth on, everything takes 30 % longer."""
    factors = np.exp(0.05 * np.random.default_rng(2).standard_normal(30)) * np.where(np.arange(30) < 18, 1.0, 1.3)

    lines = history_of(tmp_path, factors, capsys)

    assert [line.split(":")[0] for line in lines] == [
        "  change of slowest_ms_p95 at 20261211T073000Z v1.2.3",
        "  change of slowest_ms_p99 at 20261211T073000Z v1.2.3",
    ]


def test_a_platform_that_grows_slower_night_by_night_is_a_trend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One per cent per night in a scatter of 2 %."""
    factors = np.exp(0.02 * np.random.default_rng(3).standard_normal(30)) * 1.01 ** np.arange(30)

    lines = history_of(tmp_path, factors, capsys)

    assert [line.split(":")[0] for line in lines] == [
        "  trend of slowest_ms_p95 over 30 runs since 20261123T073000Z",
        "  trend of slowest_ms_p99 over 30 runs since 20261123T073000Z",
    ]


def test_history_of_nothing_is_an_empty_page(tmp_path: Path) -> None:
    (tmp_path / "soak").mkdir()
    assert show_history(tmp_path) == 0
    assert (tmp_path / "soak" / "history.html").is_file()
