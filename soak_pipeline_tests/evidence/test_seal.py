"""The seal notices every change of the evidence, and nothing that is no evidence."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from soak_pipeline.evidence.seal import SEAL_FILE, broken_seals, changed_since_seal, seal_new, sealed, unseal
from soak_pipeline.model.errors import EvidenceUnreadable

# printf one | sha256sum
ONE = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    for folder in ("requests", "telemetry", "outputs", "control"):
        (path / folder).mkdir(parents=True)
    (path / "plan.json").write_text("one")
    (path / "outputs" / "soak.v0001.json").write_text("two")
    (path / "requests" / "soak-0-00000.parquet").write_text("three")
    (path / "telemetry" / "soak-00000.parquet").write_text("four")
    seal_new(path)
    return path


def test_the_digests_are_those_of_sha256sum(run: Path) -> None:
    assert sealed(run)["plan.json"] == ONE
    program = shutil.which("sha256sum")
    if program is not None:
        subprocess.run([program, "--check", "--strict", SEAL_FILE], cwd=run, check=True, capture_output=True)


def test_what_is_as_it_was_is_whole(run: Path) -> None:
    assert broken_seals(run) == ()
    assert len(sealed(run)) == 4


def test_every_kind_of_change_is_named(run: Path) -> None:
    (run / "plan.json").write_text("One")
    (run / "outputs" / "soak.v0001.json").unlink()
    (run / "requests" / "soak-0-00001.parquet").write_text("more")
    assert broken_seals(run) == (
        "outputs/soak.v0001.json was sealed and cannot be read: No such file or directory",
        "plan.json changed since it was sealed",
        "requests/soak-0-00001.parquet was added after the seal",
    )


def test_sealing_again_never_hides_a_change(run: Path) -> None:
    (run / "plan.json").write_text("One")
    (run / "outputs" / "teardown.v0001.json").write_text("five")
    seal_new(run)
    assert broken_seals(run) == ("plan.json changed since it was sealed",)
    assert changed_since_seal(run, "plan.json")
    assert not changed_since_seal(run, "outputs/teardown.v0001.json")


def test_what_follows_from_the_evidence_is_not_sealed(run: Path) -> None:
    for name in ("verdict.json", "report.html", "outputs/post_run_checks.v0001.json", "outputs/report.v0001.json"):
        (run / name).write_text("judged")
    (run / "control" / "progress.json").write_text("{}")
    (run / "requests" / ".soak-0-00001.parquet.x").write_text("unfinished")
    seal_new(run)
    assert len(sealed(run)) == 4
    assert broken_seals(run) == ()


def test_a_stage_that_is_run_again_may_leave_a_file_of_the_same_name(run: Path) -> None:
    name = "requests/soak-0-00000.parquet"
    unseal(run, [name, "requests/never-sealed.parquet"])
    (run / name).write_text("again")
    seal_new(run)
    assert broken_seals(run) == ()


def test_evidence_without_a_seal_is_not_taken_for_whole(run: Path) -> None:
    (run / SEAL_FILE).unlink()
    assert broken_seals(run) == (f"{SEAL_FILE} is missing: nothing shows that the evidence is what the run left",)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        f"{ONE}  plan.json\n{ONE}  plan.json\n".encode(),
        f"{ONE}  ../plan.json\n".encode(),
        f"{ONE[:-1]}  plan.json\n".encode(),
        b"plan.json\n",
        f"{ONE}  plan.json".encode(),
        f"{ONE}  plan.json\v".encode(),
    ],
)
def test_a_damaged_seal_seals_nothing(run: Path, content: bytes) -> None:
    (run / SEAL_FILE).write_bytes(content)
    assert len(broken_seals(run)) == 1
    with pytest.raises(EvidenceUnreadable, match="it seals nothing"):
        seal_new(run)


def test_a_link_or_a_pipe_in_place_of_a_file_is_not_read(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("one")
    (run / "plan.json").unlink()
    (run / "plan.json").symlink_to(outside)
    (run / "outputs" / "soak.v0001.json").unlink()
    os.mkfifo(run / "outputs" / "soak.v0001.json")
    problems = broken_seals(run)
    assert [problem.split()[0] for problem in problems] == ["outputs/soak.v0001.json", "plan.json"]
    assert "not a plain file" in problems[0]
