"""Which version wrote what: of this checkout, of an install from a commit, and in a document."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.evidence import harness
from soak_pipeline.evidence.harness import harness_version, written_by


def test_the_version_is_that_of_the_package_with_its_commit() -> None:
    assert harness_version().split("+")[0] == version("soak-pipeline").split("+")[0]
    if (PROJECT_ROOT / ".git").exists():
        assert re.fullmatch(r"[^+]+\+\S+", harness_version())


def test_the_command_shows_it() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "soak_pipeline.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"{harness_version()}\n"


@pytest.mark.parametrize(
    ("direct_url", "commit"),
    [
        (json.dumps({"url": "x", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}), "0123456789ab"),
        (json.dumps({"url": "file:///x", "dir_info": {"editable": True}}), ""),
        (None, ""),
        ("[]", ""),
        ("{", ""),
    ],
)
def test_an_install_from_a_repository_names_its_commit(direct_url: str | None, commit: str) -> None:
    assert harness._commit_of_install(direct_url) == commit


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert harness._commit_of_checkout(tmp_path) == ""
    (tmp_path / ".git").mkdir()
    assert harness._commit_of_checkout(tmp_path) == ""


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b'{"harness": "0.2.0", "load": 1}', "version 0.2.0 of this package"),
        (b'{"load": 1}', "another version of this package"),
        (b'{"harness": 3}', "another version of this package"),
        (b"\xff", "another version of this package"),
        (b"", "another version of this package"),
    ],
)
def test_a_document_that_says_who_wrote_it_is_believed(document: bytes, words: str) -> None:
    assert written_by(document) == words
