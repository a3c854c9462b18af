from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from soak_pipeline.evidence.files import write_atomically
from soak_pipeline.evidence.run_folder import RunFolder, run_folders
from soak_pipeline.model.errors import BadInput, EvidenceUnreadable
from soak_pipeline.model.stage_outputs import PhaseEvidence, StageStatus
from soak_pipeline.model.target import Target
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of

RUN_ID = "20261123T073000Z"
EVIDENCE = PhaseEvidence(phase="soak", status=StageStatus.COMPLETE, reason="", sessions=())


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    plan = plan_by(
        run_id=RUN_ID, profile=profile_of("smoke"), target=Target(name="t"), thresholds=default_thresholds(), seed=1
    )
    folder = RunFolder(tmp_path, RUN_ID)
    folder.write_plan(plan)
    return folder


def test_a_plan_is_frozen_once(folder: RunFolder) -> None:
    plan = folder.read_plan()
    folder.write_plan(plan)
    with pytest.raises(EvidenceUnreadable, match="frozen once"):
        folder.write_plan(msgspec.structs.replace(plan, seed=2))
    assert folder.read_plan() == plan


def test_each_materialisation_is_a_version_beside_the_last(folder: RunFolder) -> None:
    again = msgspec.structs.replace(EVIDENCE, status=StageStatus.CUT_SHORT, reason="lease lost")
    first, first_hash = folder.write_output("soak", EVIDENCE)
    second, second_hash = folder.write_output("soak", again)
    assert (first, second) == (1, 2)
    assert first_hash != second_hash
    assert folder.read_output("soak", PhaseEvidence) == again
    assert folder.read_output("soak", PhaseEvidence, version=1) == EVIDENCE


def test_the_data_version_is_of_the_content(folder: RunFolder) -> None:
    assert folder.write_output("soak", EVIDENCE)[1] == folder.write_output("soak", EVIDENCE)[1]


def test_more_than_nine_versions_stay_in_order(folder: RunFolder) -> None:
    for _ in range(11):
        folder.write_output("soak", EVIDENCE)
    assert folder.output_versions("soak") == list(range(1, 12))


def test_a_missing_output_names_the_stage(folder: RunFolder) -> None:
    with pytest.raises(EvidenceUnreadable, match="stage soak has no output"):
        folder.read_output("soak", PhaseEvidence)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"phase": 3}', b"\xff\xfe", b"NaN"])
def test_a_damaged_output_is_told_by_file_and_reason(folder: RunFolder, content: bytes) -> None:
    folder.write_output("soak", EVIDENCE)
    folder.output_path("soak").write_bytes(content)
    with pytest.raises(EvidenceUnreadable, match=r"soak\.v0001\.json"):
        folder.read_output("soak", PhaseEvidence)


def test_a_failed_write_leaves_the_old_content_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("run_id", ["../evil", "/etc", "20261123T073000Z/../x", ""])
def test_a_run_id_is_never_a_path(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(BadInput):
        RunFolder(tmp_path, run_id)


def test_a_symbolic_link_is_no_run_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "reports" / "soak").mkdir(parents=True)
    (tmp_path / "reports" / "soak" / RUN_ID).symlink_to(elsewhere)
    with pytest.raises(EvidenceUnreadable, match="symbolic link"):
        RunFolder(tmp_path / "reports", RUN_ID)


def test_run_folders_are_listed_oldest_first(tmp_path: Path) -> None:
    for run_id in ("20261124T000000Z", "20261123T000000Z"):
        plan = plan_by(
            run_id=run_id, profile=profile_of("smoke"), target=Target(name="t"), thresholds=default_thresholds(), seed=1
        )
        RunFolder(tmp_path, run_id).write_plan(plan)
    (tmp_path / "soak" / "notes").mkdir()
    assert [folder.run_id for folder in run_folders(tmp_path)] == ["20261123T000000Z", "20261124T000000Z"]


def test_a_folder_is_found_by_its_path(folder: RunFolder) -> None:
    assert RunFolder.at(folder.path).read_plan() == folder.read_plan()


def test_a_run_folder_is_whole_by_itself_wherever_it_was_copied(folder: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / folder.run_id
    shutil.copytree(folder.path, copy)
    alone = RunFolder.at(copy)
    assert (alone.path, alone.fairness_path, alone.run_id) == (copy, None, folder.run_id)
    assert alone.read_plan() == folder.read_plan()
    assert alone.comparison_path == copy / "comparison.json"


def test_a_copy_under_another_name_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="last night"):
        RunFolder.at(tmp_path / "last night")


def test_a_run_of_an_older_version_has_its_comparison_beside_it(folder: RunFolder) -> None:
    assert folder.fairness_path is not None
    assert folder.comparison_path == folder.path / "comparison.json"
    folder.fairness_path.mkdir(parents=True)
    (folder.fairness_path / "comparison.json").write_text("{}")
    assert folder.comparison_path == folder.fairness_path / "comparison.json"
    (folder.path / "comparison.json").write_text("{}")
    assert folder.comparison_path == folder.path / "comparison.json"
