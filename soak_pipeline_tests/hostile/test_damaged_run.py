"""A stored run that passed, damaged in any way, never passes again, and never ends in a traceback."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.evidence.seal import SEAL_FILE, seal_new
from soak_pipeline.model.errors import SoakError
from soak_pipeline.model.verdict import Verdict
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline.stages.report import report_folder
from soak_pipeline_tests.evidence_factory import RUN_ID, make_run

SETTINGS = settings(
    deadline=None,
    max_examples=25,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that passes; never changed, only copied."""
    folder = make_run(tmp_path_factory.mktemp("passed"))
    assert _judged(folder) is Verdict.PASS
    return folder


@pytest.fixture
def damaged(passed: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy to damage."""
    return RunFolder(tmp_path / "reports", RUN_ID)


def _restored(passed: RunFolder, copy: RunFolder) -> None:
    shutil.rmtree(copy.reports, ignore_errors=True)
    shutil.copytree(passed.reports, copy.reports, symlinks=True)


def _judged(folder: RunFolder) -> Verdict | None:
    """The verdict, or None where the operator gets an error of the harness; anything else is a traceback."""
    try:
        return judge_folder(folder, {}).verdict
    except SoakError:
        return None


def _evidence_files(folder: RunFolder) -> list[Path]:
    names = (line.split("  ", 1)[1] for line in (folder.path / SEAL_FILE).read_text().splitlines())
    return [folder.path / name for name in names]


@SETTINGS
@given(data=st.data())
def test_any_changed_byte_of_the_evidence_is_noticed(
    passed: RunFolder, damaged: RunFolder, data: st.DataObject
) -> None:
    _restored(passed, damaged)
    path = data.draw(st.sampled_from([*_evidence_files(damaged), damaged.path / SEAL_FILE]))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert _judged(damaged) in (None, Verdict.INCONCLUSIVE, Verdict.FAIL)


@SETTINGS
@given(data=st.data())
def test_any_changed_value_of_a_stage_output_is_noticed(
    passed: RunFolder, damaged: RunFolder, data: st.DataObject
) -> None:
    """Documents of the right form and other content: nothing but the seal tells."""
    _restored(passed, damaged)
    path = data.draw(st.sampled_from([path for path in _evidence_files(damaged) if path.suffix == ".json"]))
    document = msgspec.json.decode(path.read_bytes())
    key = data.draw(st.sampled_from(sorted(document)))
    old = document[key]
    document[key] = data.draw(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9)
        | st.lists(st.integers(0, 3), max_size=3)
        | st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=2)
    )
    if document[key] == old:
        return
    path.write_bytes(msgspec.json.encode(document))
    assert _judged(damaged) is not Verdict.PASS


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _linked_out(path: Path) -> None:
    moved = path.parents[3] / path.name
    path.rename(moved)
    path.symlink_to(moved)


def _replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _grown_huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


def _replaced_by_an_endless_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _doubled(path: Path) -> None:
    shutil.copy(path, path.with_name("x" + path.name))


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        _truncated,
        _emptied,
        _linked_out,
        _replaced_by_a_pipe,
        _replaced_by_a_folder,
        _replaced_by_an_endless_device,
    ],
)
@pytest.mark.parametrize(
    "name",
    ["plan.json", "outputs/soak.v0001.json", "requests/soak-0-00000.parquet", "telemetry/run-00000.parquet", SEAL_FILE],
)
def test_a_file_that_is_not_what_it_was_never_passes(
    passed: RunFolder, damaged: RunFolder, damage: Damage, name: str
) -> None:
    _restored(passed, damaged)
    damage(damaged.path / name)
    assert _judged(damaged) in (None, Verdict.INCONCLUSIVE, Verdict.FAIL)


@pytest.mark.parametrize("name", ["plan.json", "outputs/soak.v0001.json", SEAL_FILE])
def test_a_huge_document_is_not_read(passed: RunFolder, damaged: RunFolder, name: str) -> None:
    _restored(passed, damaged)
    _grown_huge(damaged.path / name)
    (damaged.path / SEAL_FILE).unlink()
    assert _judged(damaged) is not Verdict.PASS


def test_more_records_than_the_run_left_never_pass(passed: RunFolder, damaged: RunFolder) -> None:
    _restored(passed, damaged)
    _doubled(damaged.path / "requests" / "soak-0-00000.parquet")
    assert _judged(damaged) is not Verdict.PASS


def test_the_evidence_of_another_run_is_not_this_runs(passed: RunFolder, damaged: RunFolder) -> None:
    _restored(passed, damaged)
    other = damaged.path.with_name("20261123T083000Z")
    damaged.path.rename(other)
    assert _judged(RunFolder(damaged.reports, other.name)) is None


VALUES: list[object] = [None, True, -1, -5.5, 1e308, 2**63, 2**80, "", "\x1b[31m", [], {}]


def _leaves(document: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _leaves(value, (*path, index))
    elif path:
        yield path


def _changed_under_a_new_seal(folder: RunFolder, path: Path, way: tuple[str | int, ...], value: object) -> None:
    document = msgspec.json.decode(path.read_bytes())
    holder = document
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = value
    path.write_bytes(msgspec.json.encode(document))
    (folder.path / SEAL_FILE).unlink()
    seal_new(folder.path)


@SETTINGS
@given(data=st.data())
def test_impossible_values_under_a_new_seal_are_judged_or_a_clear_error(
    passed: RunFolder, damaged: RunFolder, data: st.DataObject
) -> None:
    """Somebody who damages a run and seals it again gets no traceback."""
    _restored(passed, damaged)
    path = data.draw(st.sampled_from([path for path in _evidence_files(damaged) if path.suffix == ".json"]))
    way = data.draw(st.sampled_from(list(_leaves(msgspec.json.decode(path.read_bytes())))))
    _changed_under_a_new_seal(damaged, path, way, data.draw(st.sampled_from(VALUES)))
    _judged(damaged)


@pytest.mark.parametrize(
    ("name", "way", "value"),
    [
        ("platform_evidence", ("server_latency", 2, "within_slo"), 2**63),
        ("platform_evidence", ("chains", 0, "reason"), "<script>alert(1)</script>\x1b[31m"),
        ("teardown", ("blocked_us",), 2**80),
        ("soak", ("sessions", 0, "ended_us"), 2**62),
    ],
)
def test_a_report_of_impossible_values_is_written_or_a_clear_error(
    passed: RunFolder, damaged: RunFolder, name: str, way: tuple[str | int, ...], value: object
) -> None:
    _restored(passed, damaged)
    _changed_under_a_new_seal(damaged, damaged.path / "outputs" / f"{name}.v0001.json", way, value)
    with contextlib.suppress(SoakError):
        report_folder(damaged, judge_folder(damaged, {}))
        for path in (damaged.path / "report.html", damaged.path / "junit.xml", damaged.path / "summary.md"):
            text = path.read_text()
            assert "<script>alert(1)" not in text, path
            assert "\x1b" not in text, path
