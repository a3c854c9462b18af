"""Dropped files: candidates, files that are none, and files that would block or lead astray."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.candidates.candidate import Candidate
from soak_pipeline.candidates.drop_folder import FolderUnreadable, dropped_candidates
from soak_pipeline_tests.policies import GATING, PROVE_LEVELS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _drop(
    folder: Path, name: str, content: str = f'{{"release": "v1-rc1", "commit": "{COMMIT}"}}', age_s: int = 0
) -> Path:
    path = folder / name
    path.write_text(content)
    os.utime(path, (1_800_000_000 - age_s, 1_800_000_000 - age_s))
    return path


def test_the_oldest_file_comes_first(tmp_path: Path) -> None:
    _drop(tmp_path, "a.json", age_s=10)
    _drop(
        tmp_path, "b.json", f'{{"release": "v2", "commit": "{COMMIT}", "profile": "nightly", "target": "t.yaml"}}', 20
    )
    candidates, problems = dropped_candidates(tmp_path, GATING)
    assert [item.path.name for item in candidates] == ["b.json", "a.json"]
    assert candidates[0].candidate == Candidate(release="v2", commit=COMMIT, profile="nightly", target="t.yaml")
    assert candidates[1].candidate == Candidate(release="v1-rc1", commit=COMMIT)
    assert problems == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it may be half-written"),
        ('{"release": "v1", "comm', "it may be half-written"),
        ("[]", "Expected `object`"),
        ('{"release": "v1"}', "missing required field `commit`"),
        (f'{{"release": "v1", "commit": "{COMMIT}", "tagret": "x"}}', "unknown field `tagret`"),
        ('{"release": "v1", "commit": "HEAD"}', "commit 'HEAD' is not 7 to 64 hexadecimal digits"),
        (f'{{"release": "", "commit": "{COMMIT}"}}', "release '' is not"),
        (f'{{"release": "a b", "commit": "{COMMIT}"}}', "without blanks"),
        (f'{{"release": "v1\\n", "commit": "{COMMIT}"}}', "release 'v1\\n' is not"),
        (f'{{"release": "v...1", "commit": "{COMMIT}"}}', "`...`"),
        (f'{{"release": "{"x" * 201}", "commit": "{COMMIT}"}}', "1 to 200"),
        (f'{{"release": "v1", "commit": "{COMMIT}", "pad": "{"x" * 70_000}"}}', "larger than 65536 bytes"),
    ],
)
def test_a_file_that_is_no_candidate_hides_no_other(tmp_path: Path, content: str, message: str) -> None:
    _drop(tmp_path, "bad.json", content)
    _drop(tmp_path, "good.json")
    candidates, problems = dropped_candidates(tmp_path, GATING)
    assert [item.path.name for item in candidates] == ["good.json"]
    assert [problem.name for problem in problems] == ["bad.json"]
    assert problems[0].message.startswith("bad.json: ")
    assert message in problems[0].message


@pytest.mark.parametrize("profile", ["smoke", *PROVE_LEVELS, "tiny", "", "Nightly", "x" * 50])
def test_a_profile_that_is_no_level_of_the_gate_is_refused(tmp_path: Path, profile: str) -> None:
    _drop(tmp_path, "rc.json", f'{{"release": "v1-rc1", "commit": "{COMMIT}", "profile": "{profile}"}}')
    candidates, problems = dropped_candidates(tmp_path, GATING)
    assert candidates == []
    assert [problem.message for problem in problems] == [
        f"rc.json: profile {profile[:40]!r} is no level of the gate, so its run could not promote the candidate; "
        "allowed: pull_request, nightly, pre_release; name one of them, or leave it out for pre_release"
    ]


@pytest.mark.parametrize("profile", GATING)
def test_every_level_of_the_gate_may_be_named(tmp_path: Path, profile: str) -> None:
    _drop(tmp_path, "rc.json", f'{{"release": "v1-rc1", "commit": "{COMMIT}", "profile": "{profile}"}}')
    candidates, problems = dropped_candidates(tmp_path, GATING)
    assert [item.candidate.profile for item in candidates] == [profile]
    assert problems == []


def test_a_problem_has_another_version_when_its_file_changes(tmp_path: Path) -> None:
    _drop(tmp_path, "bad.json", "{")
    first = dropped_candidates(tmp_path, GATING)[1][0].version
    assert dropped_candidates(tmp_path, GATING)[1][0].version == first
    _drop(tmp_path, "bad.json", "{ ")
    assert dropped_candidates(tmp_path, GATING)[1][0].version != first


def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(f'{{"release": "v1", "commit": "{COMMIT}"}}')
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    candidates, problems = dropped_candidates(tmp_path, GATING)
    assert candidates == []
    assert [problem.name for problem in problems] == ["folder.json", "link.json", "pipe.json"]
    assert all("drop a plain file" in problem.message for problem in problems)


def test_files_with_other_names_are_left_alone(tmp_path: Path) -> None:
    for name in (".rc1.json", "rc1.json.part", "README"):
        _drop(tmp_path, name, "{")
    assert dropped_candidates(tmp_path, GATING) == ([], [])


def test_a_folder_that_is_missing_or_too_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FolderUnreadable, match="No such file or directory"):
        dropped_candidates(tmp_path / "none", GATING)
    monkeypatch.setattr("soak_pipeline.candidates.drop_folder.MAX_FILES", 1)
    _drop(tmp_path, "a.json")
    _drop(tmp_path, "b.json")
    with pytest.raises(FolderUnreadable, match="2 files, limit 1"):
        dropped_candidates(tmp_path, GATING)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
candidates = st.builds(
    Candidate,
    release=names,
    commit=st.text("0123456789abcdef", min_size=7, max_size=12),
    profile=st.none() | st.sampled_from(GATING),
    target=st.none() | names,
).filter(lambda candidate: not candidate.problems(GATING))


@given(candidates, candidates)
def test_different_candidates_have_different_keys(one: Candidate, other: Candidate) -> None:
    assert (one.key == other.key) is (one == other)
    assert msgspec.json.decode(msgspec.json.encode(one), type=Candidate) == one
