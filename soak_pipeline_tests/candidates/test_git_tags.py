"""Tags as a real git lists them, and what happens when it cannot."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from soak_pipeline.candidates import git_tags
from soak_pipeline.candidates.git_tags import RepositoryUnreadable, tagged_candidates
from soak_pipeline.model.errors import BadInput
from soak_pipeline_tests.candidates.repository import Repository
from soak_pipeline_tests.waiting import wait_until_gone

SECRET = "correct-horse-battery"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def fake_git(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which `git` is a script of the test; its text is set with `_script`."""
    (tmp_path / "bin").mkdir()
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def _script(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bin" / "git"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _found(repository: str, pattern: str = "v*-rc*") -> list[tuple[str, str]]:
    return [(item.release, item.commit) for item in tagged_candidates(repository, pattern, os.environ)]


def test_an_annotated_tag_stands_for_its_commit(repository: Repository) -> None:
    commit = repository.tag("v1.0-rc1")
    assert repository.git("rev-parse", "v1.0-rc1") != commit
    assert _found(str(repository.path)) == [("v1.0-rc1", commit)]


def test_a_tag_of_a_tag_stands_for_the_commit_in_the_end(repository: Repository) -> None:
    commit = repository.tag("v1.0-rc1")
    repository.git("tag", "--annotate", "-m", "again", "v1.0-rc2", "v1.0-rc1")
    assert ("v1.0-rc2", commit) in _found(str(repository.path))


def test_tags_come_in_the_order_of_their_versions_and_others_do_not_come(repository: Repository) -> None:
    for name in ("v1.10-rc1", "v1.9-rc10", "v1.9-rc2", "v1.9", "w1-rc1", "release/v1-rc1"):
        repository.tag(name, annotated=False)
    assert [name for name, _ in _found(str(repository.path))] == ["v1.9-rc2", "v1.9-rc10", "v1.10-rc1"]
    assert [name for name, _ in _found(str(repository.path), "*/v*")] == ["release/v1-rc1"]


def test_a_repository_may_be_named_by_a_url(repository: Repository) -> None:
    commit = repository.tag("v1-rc1")
    assert _found(f"file://{repository.path}") == [("v1-rc1", commit)]


def test_a_repository_without_tags_has_no_candidates(repository: Repository) -> None:
    assert _found(str(repository.path)) == []


def test_a_repository_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RepositoryUnreadable, match=r"git ended with 128: .*does not appear to be a git repository"):
        _found(str(tmp_path))


def test_git_that_is_not_installed(tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RepositoryUnreadable, match="git is not installed; install it"):
        tagged_candidates(str(repository.path), "*", {"PATH": str(tmp_path)})


@pytest.mark.parametrize("url", [f"https://user:{SECRET}@example.org/x.git", f"https://{SECRET}@example.org/x.git"])
def test_a_credential_in_the_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BadInput, match="use git's credential helper") as raised:
        _found(url)
    assert SECRET not in str(raised.value)
    assert "example.org/x.git" in str(raised.value)


def test_a_credential_that_git_prints_is_not_shown(tmp_path: Path, fake_git: Mapping[str, str]) -> None:
    _script(tmp_path, f"echo 'fatal: unable to access https://user:{SECRET}@example.org/' >&2; exit 128")
    with pytest.raises(RepositoryUnreadable, match=r"https://\*\*\*@example.org") as raised:
        tagged_candidates("https://example.org/", "*", fake_git)
    assert SECRET not in str(raised.value)


def test_a_name_that_looks_like_an_option_runs_nothing(tmp_path: Path) -> None:
    with pytest.raises(RepositoryUnreadable):
        _found(f"--upload-pack=touch {tmp_path / 'ran'}")
    assert not (tmp_path / "ran").exists()


def test_a_url_that_names_a_command_runs_nothing(tmp_path: Path) -> None:
    with pytest.raises(RepositoryUnreadable, match="transport 'ext' not allowed"):
        _found(f"ext::touch {tmp_path / 'ran'}")
    assert not (tmp_path / "ran").exists()


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"git://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(RepositoryUnreadable, match=r"no answer within 0\.5 s"):
            tagged_candidates(url, "*", os.environ, timeout_s=0.5)


def test_a_child_of_git_does_not_outlive_the_call(tmp_path: Path, fake_git: Mapping[str, str]) -> None:
    _script(tmp_path, f"sleep 3600 & echo $! > {tmp_path / 'pid'}; wait")
    # Long enough for the script to start its child, on a slow machine too.
    for timeout_s in (0.5, 5.0, 50.0):
        with pytest.raises(RepositoryUnreadable, match="no answer"):
            tagged_candidates("x", "*", fake_git, timeout_s=timeout_s)
        if pid := (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else "":
            break
    pid = int(pid)
    # It is killed together with git; the kernel takes its time.
    wait_until_gone(pid)


def test_an_answer_without_end_is_cut(
    tmp_path: Path, fake_git: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_tags, "MAX_OUTPUT_BYTES", 10_000)
    _script(tmp_path, "exec yes")
    with pytest.raises(RepositoryUnreadable, match="larger than 10,000 bytes"):
        tagged_candidates("x", "*", fake_git)


def test_an_answer_that_is_none(tmp_path: Path, fake_git: Mapping[str, str]) -> None:
    _script(tmp_path, "echo 'hello <b>'")
    with pytest.raises(RepositoryUnreadable, match="unexpected answer 'hello <b>'"):
        tagged_candidates("x", "*", fake_git)
