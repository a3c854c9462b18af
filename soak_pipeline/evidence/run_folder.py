"""Paths and typed files of one run folder, written atomically.

Owns `reports/soak/{run_id}/` and `reports/fairness/{run_id}/`. Never interprets what it stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from soak_pipeline.evidence.files import read_regular, write_bytes
from soak_pipeline.evidence.harness import written_by
from soak_pipeline.evidence.seal import seal_new
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import (
    PLAN_FORMAT,
    Plan,
    checked_run_id,
    decode_plan,
    is_run_id,
    plan_hash_as_stored,
)

T = TypeVar("T")

OUTPUTS_FOLDER = "outputs"
COMPARISON_FILE = "comparison.json"
MAX_JSON_BYTES = 64 * 1024 * 1024
"""More than any JSON file of a run holds: an output has a few hundred entries at most."""


class RunFolder:
    """The folder of one run.

    Attributes:
        run_id: the run's UTC timestamp.
        path: `{reports}/soak/{run_id}`; whole by itself.
        fairness_path: `{reports}/fairness/{run_id}`, where the report puts a copy of the fairness comparison; None for
            a run folder that was copied somewhere else.
    """

    def __init__(self, reports: Path, run_id: str, *, is_alone: bool = False) -> None:
        self.run_id = checked_run_id(run_id)
        self.reports = reports
        self.path = reports / run_id if is_alone else reports / "soak" / run_id
        self.fairness_path = None if is_alone else reports / "fairness" / run_id
        own = (self.requests_dir, self.telemetry_dir, self.control_dir, self.path / OUTPUTS_FOLDER)
        around = () if self.fairness_path is None else (self.path.parent, self.fairness_path.parent, self.fairness_path)
        for folder in (reports, self.path, *own, *around):
            if folder.is_symlink():
                raise EvidenceUnreadable(f"{folder} is a symbolic link; a run folder is a plain directory")

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """The run folder that a path names: `{reports}/soak/{run_id}`, or a copy of it anywhere, under its own name.

        Raises:
            EvidenceUnreadable: its name is not that of a run.
        """
        path = path.absolute()
        is_alone = path.parent.name != "soak"
        return cls(path.parent if is_alone else path.parent.parent, path.name, is_alone=is_alone)

    def create(self) -> None:
        """Makes the folders; one that exists is kept."""
        for folder in (self.path, self.requests_dir, self.telemetry_dir, self.control_dir):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def exists(self) -> bool:
        """Whether a plan was stored here."""
        return self.plan_path.is_file()

    @property
    def plan_path(self) -> Path:
        """The frozen plan."""
        return self.path / "plan.json"

    @property
    def requests_dir(self) -> Path:
        """Folder of the request records."""
        return self.path / "requests"

    @property
    def telemetry_dir(self) -> Path:
        """Folder of the telemetry samples."""
        return self.path / "telemetry"

    @property
    def control_dir(self) -> Path:
        """Leases, progress and session reports of the load; of no use once the run is over."""
        return self.path / "control"

    @property
    def comparison_path(self) -> Path:
        """The fairness comparison; runs of older versions have it in `fairness_path` alone."""
        own = self.path / COMPARISON_FILE
        beside = own if self.fairness_path is None else self.fairness_path / COMPARISON_FILE
        return beside if beside.exists() and not own.exists() else own

    def read_plan(self) -> Plan:
        """The frozen plan.

        Raises:
            EvidenceUnreadable: there is none, it is damaged, or a newer version wrote it.
        """
        plan = read_json_as_stored(self.plan_path, decode_plan)
        if plan.format_version > PLAN_FORMAT:
            raise EvidenceUnreadable(
                f"{self.plan_path}: its format is {plan.format_version}, known here up to {PLAN_FORMAT}; "
                f"{f'version {plan.harness}' if plan.harness else 'a newer version'} of this package wrote it and can "
                "read it"
            )
        return plan

    def plan_hash(self) -> str:
        """SHA-256 (hex) of the plan as it was frozen, by whatever version.

        Raises:
            EvidenceUnreadable: there is no plan, or it is damaged.
        """
        return read_json_as_stored(self.plan_path, plan_hash_as_stored)

    def write_plan(self, plan: Plan) -> None:
        """Stores the plan and seals it; the same plan again changes nothing.

        Raises:
            EvidenceUnreadable: another plan is stored already; a plan is frozen once.
        """
        if self.plan_path.exists():
            if self.read_plan() != plan:
                raise EvidenceUnreadable(f"{self.plan_path}: another plan is stored; a run's plan is frozen once")
            return
        self.create()
        write_json(self.plan_path, plan)
        seal_new(self.path)

    def write_output(self, stage: str, output: object) -> tuple[int, str]:
        """Stores one materialisation of a stage beside those before it, and seals what the stage left.

        Returns:
            Its version (from 1) and the SHA-256 (hex) of its content, which is the data version.
        """
        data = msgspec.json.format(msgspec.json.encode(output, order="deterministic"), indent=2) + b"\n"
        version = (self.output_versions(stage) or [0])[-1] + 1
        write_bytes(self._output_path(stage, version), data)
        seal_new(self.path)
        return version, hashlib.sha256(data).hexdigest()

    def read_output(self, stage: str, output_type: type[T], version: int | None = None) -> T:
        """One materialisation of a stage, the newest by default.

        Raises:
            EvidenceUnreadable: there is none, or it is damaged.
        """
        if version is None:
            versions = self.output_versions(stage)
            if not versions:
                raise EvidenceUnreadable(f"{self.path}: stage {stage} has no output; materialise it first")
            version = versions[-1]
        return read_json(self._output_path(stage, version), output_type)

    def output_versions(self, stage: str) -> list[int]:
        """Versions of a stage's stored outputs, ascending; empty when it has none."""
        folder = self.path / OUTPUTS_FOLDER
        numbers = (path.stem.rsplit(".v", 1)[1] for path in folder.glob(f"{stage}.v*.json"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def output_path(self, stage: str) -> Path:
        """Path of the newest output of a stage."""
        return self._output_path(stage, (self.output_versions(stage) or [1])[-1])

    def relative(self, words: str) -> str:
        """A message whose paths start at the run folder, wherever that happens to be."""
        return words.replace(f"{self.path}/", "").replace(f"{self.path}: ", "")

    def _output_path(self, stage: str, version: int) -> Path:
        return self.path / OUTPUTS_FOLDER / f"{stage}.v{version:04d}.json"


def run_folders(reports: Path) -> Iterator[RunFolder]:
    """Every run folder under `reports`, oldest first; what is not one is passed over.

    Raises:
        EvidenceUnreadable: `reports` or its folder of runs is a symbolic link.
    """
    for folder in (reports, reports / "soak"):
        if folder.is_symlink():
            raise EvidenceUnreadable(f"{folder} is a symbolic link; a reports folder is a plain directory")
    for path in sorted((reports / "soak").glob("*Z")):
        if is_run_id(path.name) and path.is_dir() and not path.is_symlink() and (path / "plan.json").is_file():
            try:
                yield RunFolder(reports, path.name)
            except EvidenceUnreadable:
                continue


def read_json(path: Path, output_type: type[T]) -> T:
    """A typed JSON file.

    Raises:
        EvidenceUnreadable: missing, no plain file, not JSON, or not of that type; the message names file, field and
            reason.
    """
    return read_json_as_stored(path, lambda data: msgspec.json.decode(data, type=output_type))


def read_json_as_stored(path: Path, decode: Callable[[bytes], T]) -> T:
    """What somebody makes of the bytes of a JSON file, for whom its values alone are not enough.

    Args:
        path: of the file.
        decode: raises `msgspec.DecodeError` for what is not as it must be.

    Raises:
        EvidenceUnreadable: as `read_json`.
    """
    document = b""
    try:
        document = read_regular(path, MAX_JSON_BYTES)
        return decode(document)
    except OSError as error:
        raise EvidenceUnreadable(f"{path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceUnreadable(
            f"{path}: {error}; the file is damaged, or {written_by(document)} wrote it and can read it"
        ) from error


def write_json(path: Path, value: object) -> None:
    """Writes a value as indented JSON, atomically."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, atomically."""
    write_bytes(path, text.encode())
