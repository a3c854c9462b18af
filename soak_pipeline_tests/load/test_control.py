"""The small files in `control/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.load.control import (
    TelemetryLine,
    append_line,
    read_lines,
    read_worker_state,
    replace_file,
)


def line(time_us: int) -> TelemetryLine:
    return TelemetryLine(time_us=time_us, owner="load-0", figures={"sent": 3.0, "rss_bytes": 5.0})


def test_lines_are_read_on_from_where_the_last_reading_ended(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, line(1))
    first, offset = read_lines(path)
    append_line(path, line(2))
    second, _ = read_lines(path, offset)
    assert [item.time_us for item in (*first, *second)] == [1, 2]


def test_a_torn_line_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, line(1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])
    lines, offset = read_lines(path)
    assert len(lines) == 1
    assert offset == len(whole)


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none", 7) == ([], 7)


def test_a_line_is_a_row_per_figure() -> None:
    assert [(row.owner, row.series, row.value) for row in line(1).samples()] == [
        ("load-0", "sent", 3.0),
        ("load-0", "rss_bytes", 5.0),
    ]


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replacement_that_fails_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        replace_file(tmp_path / "missing" / "state", b"x")


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
def test_what_is_missing_or_damaged_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state"
    if content is not None:
        path.write_bytes(content)
    assert read_worker_state(path) is None
    assert read_progress(path) is None
