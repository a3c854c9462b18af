"""`soak prove` with runs that are played: lanes, exit codes, what is written, and bad arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from soak_pipeline.commands import prove as command
from soak_pipeline.commands.prove import prove
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.verdict import CriterionResult, Verdict
from soak_pipeline.prove.catalogue import CATALOGUE
from soak_pipeline.prove.judging import RowResult, judge_row
from soak_pipeline.prove.lane import Lane
from soak_pipeline.prove.matrix import Proof
from soak_pipeline.prove.rows import Row
from soak_pipeline.stages.target_lock import release_target
from soak_pipeline_tests.waiting import PATIENCE_S

Play = Callable[[Row, Lane], RowResult | None]


def passing(row: Row, lane: Lane) -> RowResult:
    causes = {turn.criterion: turn.cause for turn in row.turns}
    names = [criterion.name for criterion in CRITERIA]
    return judge_row(
        row, [CriterionResult(name=name, verdict=row.expected(name), cause=causes.get(name), why="") for name in names]
    )


def failing(*names: str) -> Play:
    def play(row: Row, lane: Lane) -> RowResult:
        if row.name not in names:
            return passing(row, lane)
        everything_passes = [
            CriterionResult(name=criterion.name, verdict=Verdict.PASS, why="") for criterion in CRITERIA
        ]
        return judge_row(row, everything_passes)

    return play


def proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, play: Play, *names: str, **options: object
) -> tuple[int, Proof | None, str]:
    monkeypatch.setattr(command, "prove_row", lambda row, lane, folder, cancelled, tell: play(row, lane))
    monkeypatch.setattr(command, "LOOK_EVERY_S", 0.01)
    environment = {"SOAK_STATE_DIR": str(tmp_path / "state")}
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    try:
        code = prove(names, tmp_path / "reports", environment, console, **options)  # type: ignore[arg-type]
    finally:
        release_target("prove", environment)
        console.file.close()
    files = list((tmp_path / "reports").glob("prove/*/matrix.json"))
    document = msgspec.json.decode(files[0].read_bytes(), type=Proof) if files else None
    return code, document, console.export_text()


def test_all_rows_go_and_the_matrix_is_written_and_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = tmp_path / "docs" / "fault_matrix.md"

    code, document, text = proved(tmp_path, monkeypatch, passing, publish=published, lanes=3)

    assert code == 0
    assert document is not None
    assert document.holds
    assert [row.name for row in document.rows] == [row.name for row in CATALOGUE]
    assert "PROVED" in text
    assert published.read_text().startswith("# Fault matrix")
    assert published.with_suffix(".html").read_text() == next(tmp_path.glob("reports/prove/*/matrix.html")).read_text()


def test_one_fault_that_is_missed_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, document, text = proved(tmp_path, monkeypatch, failing("root_stale"), "root_stale", "clean")

    assert code == 1
    assert document is not None
    assert [row.outcome for row in document.rows] == ["passed", "missed"]
    assert "NOT PROVED" in text
    assert "root_stale: roots_are_sealed is PASS, must be FAIL" in text


def test_a_run_without_a_verdict_is_a_failure_of_the_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(row: Row, lane: Lane) -> RowResult:
        if row.name == "clean":
            raise OSError("disk is full")
        return passing(row, lane)

    code, document, text = proved(tmp_path, monkeypatch, play, "clean", "root_stale")

    assert code == 3
    assert document is not None
    assert document.rows[0].problems == ("OSError: disk is full",)
    assert "clean: OSError: disk is full" in text


def test_lanes_go_at_once_and_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=PATIENCE_S)
    lanes: set[tuple[Path, int]] = set()

    def play(row: Row, lane: Lane) -> RowResult:
        lanes.add((lane.state, lane.first_port))
        together.wait()
        return passing(row, lane)

    code, _, _ = proved(tmp_path, monkeypatch, play, "clean", "root_stale", lanes=2, first_port=30_000)

    assert code == 0
    assert {port for _, port in lanes} == {30_000, 30_100}
    assert len({state for state, _ in lanes}) == 2


def test_the_longest_runs_begin_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def play(row: Row, lane: Lane) -> RowResult:
        begun.append(row.name)
        return passing(row, lane)

    proved(tmp_path, monkeypatch, play, "clean", "clean_leaks", lanes=1)

    assert begun == ["clean_leaks", "clean"]


def test_an_interrupt_stops_every_lane_and_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def until_cancelled(row: Row, lane: Lane, folder: Path, cancelled: threading.Event, tell: object) -> None:
        cancelled.wait(PATIENCE_S)

    monkeypatch.setattr(command, "_watch", interrupted)
    monkeypatch.setattr(command, "prove_row", until_cancelled)
    environment = {"SOAK_STATE_DIR": str(tmp_path / "state")}
    with (tmp_path / "out").open("w") as out:
        code = prove(("clean", "root_stale"), tmp_path / "reports", environment, Console(file=out), lanes=1)
    release_target("prove", environment)

    assert code == 3


@pytest.mark.parametrize(
    "options", [{"lanes": 0}, {"lanes": 17}, {"first_port": 80}, {"first_port": 65_500}, {"publish": Path("x.html")}]
)
def test_bad_numbers_are_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    with pytest.raises(BadInput):
        proved(tmp_path, monkeypatch, passing, "clean", **options)
    assert not (tmp_path / "reports").exists()
