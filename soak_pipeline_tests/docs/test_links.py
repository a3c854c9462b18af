"""Every link, anchor and path in the documents leads somewhere, and every document can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests.docs.markdown import DOCUMENTS, anchors, links, name_of, words_in_code

OWN_FOLDERS = ("soak_pipeline/", "soak_pipeline_tests/", "infra/", "docs/", "reports/examples/", ".ci/")
each = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


def test_there_are_documents() -> None:
    assert {"README.md", "docs/README.md", "docs/operating.md", "infra/README.md"} <= set(map(name_of, DOCUMENTS))


@each
def test_every_link_leads_somewhere(path: Path) -> None:
    dead = []
    for link in links(path.read_text()):
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            dead.append(link)
    assert dead == []


@each
def test_every_path_of_the_project_exists(path: Path) -> None:
    words = (word for word in words_in_code(path.read_text()) if re.fullmatch(r"[\w./-]+", word))
    named = {word for word in words if word.startswith(OWN_FOLDERS)}
    gone = {word for word in named if not (PROJECT_ROOT / word).exists()}
    assert gone == set()


@each
def test_every_module_that_is_named_exists(path: Path) -> None:
    """Such as `stages/guardian.py`, within the package or, in its documents, within the reference platform."""
    pattern = re.compile(r"[a-z_/]+/[a-z_]+\.(py|sql)")
    folders = ("", "soak_pipeline", "infra", "infra/acp", "soak_pipeline_tests")
    bases = [PROJECT_ROOT / folder for folder in folders]
    words = {word for word in words_in_code(path.read_text()) if pattern.fullmatch(word)}
    assert {word for word in words if not any((base / word).exists() for base in bases)} == set()


def test_the_index_leads_to_every_document() -> None:
    index = PROJECT_ROOT / "docs" / "README.md"
    reached = {(index.parent / link).resolve() for link in links(index.read_text())}
    wanted = {path for path in DOCUMENTS if path.parent.name != "adr" and path != index}
    elsewhere = {PROJECT_ROOT / "README.md", PROJECT_ROOT / "CHANGELOG.md", PROJECT_ROOT / "reports" / "README.md"}
    assert {name_of(path) for path in wanted - reached - elsewhere} == set()


def test_every_folder_of_the_package_is_in_the_architecture() -> None:
    text = (PROJECT_ROOT / "docs" / "architecture.md").read_text()
    folders = {path.parent.name for path in (PROJECT_ROOT / "soak_pipeline").glob("*/__init__.py")}
    assert folders
    assert {name for name in folders if f"`{name}/`" not in text} == set()


@each
def test_the_documents_speak_of_the_project_only(path: Path) -> None:
    """No path of the machine it was written on, and no number of an issue."""
    text = path.read_text()
    assert re.findall(r"(?<![\w.])/(?:work|root|home|tmp)/[\w./-]*", text) == []
    assert re.findall(r"(?i)\bissues? #?\d+|(?<![\w&])#\d+\b", text) == []
