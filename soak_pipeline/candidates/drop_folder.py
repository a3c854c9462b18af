"""A folder into which a build drops one JSON file per release candidate.

Owns the format. A file that cannot be read as a candidate is a problem of its own, and never hides another file. Never
changes or removes a file.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from soak_pipeline.candidates.candidate import Candidate
from soak_pipeline.evidence.files import read_regular
from soak_pipeline.model.errors import HarnessFailed

MAX_FILE_BYTES = 64 * 1024
MAX_FILES = 10_000


class FolderUnreadable(HarnessFailed):
    """The drop folder itself cannot be read."""


@dataclass(frozen=True, slots=True)
class DroppedCandidate:
    """A candidate and the file that announced it."""

    path: Path
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that is no candidate, or none yet.

    Attributes:
        name: of the file.
        version: changes with the file, so that a problem can be reported once.
        message: what is wrong, and what to do.
    """

    name: str
    version: str
    message: str


def dropped_candidates(folder: Path, levels: Collection[str]) -> tuple[list[DroppedCandidate], list[FileProblem]]:
    """The candidates in a folder, the oldest file first, and the files that are none.

    Only names that end in `.json` and do not begin with a dot count, so that a file can be written under another name
    and renamed.

    Args:
        folder: the folder.
        levels: levels of the policy that gate; a file may name one of them.

    Raises:
        FolderUnreadable: there is no such folder, or it holds too many files.
    """
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith(".")]
    except OSError as error:
        raise FolderUnreadable(f"folder of release candidates {folder}: {error.strerror or error}") from error
    if len(names) > MAX_FILES:
        raise FolderUnreadable(
            f"folder of release candidates {folder}: {len(names):,} files, limit {MAX_FILES:,}; move old ones away"
        )
    candidates: list[tuple[int, DroppedCandidate]] = []
    problems = []
    for name in sorted(names):
        path = folder / name
        try:
            stat = path.lstat()
            candidates.append((stat.st_mtime_ns, DroppedCandidate(path, _read(path, levels))))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(FileProblem(name, f"{stat.st_mtime_ns}-{stat.st_size}", f"{name}: {_words(error)}"))
    return [candidate for _, candidate in sorted(candidates, key=lambda item: item[0])], problems


def _read(path: Path, levels: Collection[str]) -> Candidate:
    """The candidate of a file.

    Raises:
        ValueError: it is not one.
        OSError: it cannot be read, or is no plain file.
    """
    candidate = msgspec.json.decode(read_regular(path, MAX_FILE_BYTES), type=Candidate)
    problems = candidate.problems(levels)
    if problems:
        raise ValueError("; ".join(problems))
    return candidate


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}; drop a plain file"
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"{error}; it may be half-written: write it under another name and rename it"
    return str(error)
