"""The seal of a run's evidence: `evidence.sha256`, the digest of every file that a verdict may rest on.

Owns the manifest, which `sha256sum --check evidence.sha256` reads as well. A file is sealed when the stage that wrote
it ends, and never again: what changes afterwards is noticed by whoever judges. It protects from damage, not from
somebody who may write to the folder and means harm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from soak_pipeline.evidence.files import open_regular, read_regular, write_bytes
from soak_pipeline.model.errors import EvidenceUnreadable

SEAL_FILE = "evidence.sha256"
MAX_SEAL_BYTES = 16 * 1024 * 1024
_EVIDENCE = (
    "plan.json",
    "outputs/*.v*.json",
    "requests/*.parquet",
    "telemetry/*.parquet",
)
_JUDGEMENTS = ("post_run_checks.", "report.")
"""Outputs that follow from the evidence and are none."""

_LINE = re.compile(r"([0-9a-f]{64})  ([\w./-]+)")


def seal_new(run_path: Path) -> None:
    """Adds every evidence file that is not sealed yet; what is sealed keeps the digest that it had.

    Raises:
        EvidenceUnreadable: the manifest there is none, or a file cannot be read.
    """
    digests = sealed(run_path)
    for name in _evidence_files(run_path):
        if name not in digests:
            digests[name] = _digest(run_path, name)
    _write(run_path, digests)


def unseal(run_path: Path, names: Iterable[str]) -> None:
    """Forgets files that were set aside on purpose, because their stage is run again.

    Args:
        run_path: the run folder.
        names: relative to it.

    Raises:
        EvidenceUnreadable: the manifest there is none.
    """
    digests = sealed(run_path)
    gone = set(names) & digests.keys()
    if gone:
        _write(run_path, {name: digest for name, digest in digests.items() if name not in gone})


def sealed(run_path: Path) -> dict[str, str]:
    """SHA-256 (hex) by file, relative to the run folder; empty when nothing was sealed.

    Raises:
        EvidenceUnreadable: the manifest cannot be read.
    """
    path = run_path / SEAL_FILE
    try:
        *lines, end = read_regular(path, MAX_SEAL_BYTES).decode("ascii").split("\n")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EvidenceUnreadable(f"{path}: {error}; it seals nothing") from error
    if end:
        raise EvidenceUnreadable(f"{path}: its end is missing; it seals nothing")
    digests = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in digests or ".." in match[2].split("/"):
            raise EvidenceUnreadable(f"{path}: line {number} is no digest of a file of the run; it seals nothing")
        digests[match[2]] = match[1]
    return digests


def damage_of(run_path: Path, *, must_be_sealed: bool) -> tuple[str, ...]:
    """What of a run's evidence is not as it was sealed; nothing where there is no seal and none is asked for.

    Args:
        run_path: the run folder.
        must_be_sealed: false for runs of a format that had no seal.
    """
    return broken_seals(run_path) if must_be_sealed or (run_path / SEAL_FILE).exists() else ()


def broken_seals(run_path: Path) -> tuple[str, ...]:
    """What is not as it was sealed, one sentence each: files that changed, are gone, or came later."""
    try:
        digests = sealed(run_path)
    except EvidenceUnreadable as error:
        return (str(error).replace(f"{run_path}/", ""),)
    if not digests:
        return (f"{SEAL_FILE} is missing: nothing shows that the evidence is what the run left",)
    problems = []
    for name, digest in digests.items():
        try:
            if _digest(run_path, name) != digest:
                problems.append(f"{name} changed since it was sealed")
        except EvidenceUnreadable as error:
            problems.append(f"{name} was sealed and cannot be read: {error}")
    problems += [f"{name} was added after the seal" for name in _evidence_files(run_path) if name not in digests]
    return tuple(problems)


def changed_since_seal(run_path: Path, name: str) -> bool:
    """Whether one file is not as it was sealed; false for a file that never was.

    Raises:
        EvidenceUnreadable: the manifest or the file cannot be read.
    """
    digest = sealed(run_path).get(name)
    return digest is not None and _digest(run_path, name) != digest


def _evidence_files(run_path: Path) -> Iterator[str]:
    for pattern in _EVIDENCE:
        for path in sorted(run_path.glob(pattern)):
            if not path.name.startswith((".", *_JUDGEMENTS)):
                yield path.relative_to(run_path).as_posix()


def _write(run_path: Path, digests: dict[str, str]) -> None:
    lines = (f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    write_bytes(run_path / SEAL_FILE, "".join(lines).encode())


def _digest(run_path: Path, name: str) -> str:
    try:
        with open_regular(run_path / name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EvidenceUnreadable(error.strerror or type(error).__name__) from error
