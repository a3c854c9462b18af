"""`soak compare` and `soak history` over stored runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak_pipeline.commands.across_runs import compare_stored, show_history
from soak_pipeline.model.errors import BadInput
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline.stages.report import report_folder
from soak_pipeline_tests.evidence_factory import make_run


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


def test_history_lists_the_runs_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path)
    report_folder(folder, judge_folder(folder, {}))
    assert show_history(tmp_path) == 0
    shown = capsys.readouterr().out
    assert folder.run_id in shown
    assert "PASS" in shown
    assert (tmp_path / "soak" / "history.html").is_file()


def test_history_of_nothing_is_an_empty_page(tmp_path: Path) -> None:
    (tmp_path / "soak").mkdir()
    assert show_history(tmp_path) == 0
    assert (tmp_path / "soak" / "history.html").is_file()
