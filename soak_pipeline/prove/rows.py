"""The vocabulary of a proof: a fault, what must turn because of it, and the row that ties them together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from soak_pipeline.model.verdict import Verdict

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class When(StrEnum):
    """When a fault is there: from the start of the platform on, or for as long as the soak's load goes."""

    START = "start"
    SOAK = "soak"


class Disturbance(StrEnum):
    """What is done to the harness itself in the middle of the soak; each must leave the run without an answer."""

    STARVE_LOAD_WORKER = "starve_load_worker"
    KILL_LOAD_WORKER = "kill_load_worker"
    STOP_LOAD_SUPERVISOR = "stop_load_supervisor"
    BLOCK_TELEMETRY = "block_telemetry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of the reference platform.

    Attributes:
        name: as `acp fault list` has it.
        parameters: those that differ from the fault's defaults.
        when: see `When`.
    """

    name: str
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    when: When = When.START

    def assignments(self) -> list[str]:
        """The parameters as the platform's command takes them."""
        return [f"{name}={value}" for name, value in self.parameters.items()]

    def text(self) -> str:
        """The fault as the variable `ACP_FAULTS` takes it."""
        return f"{self.name}:{','.join(self.assignments())}" if self.parameters else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A criterion that must not be PASS.

    Attributes:
        criterion: its name.
        verdict: FAIL or INCONCLUSIVE.
        cause: name of the diagnosis that it must give.
        because: why it turns beside the row's main criterion; empty for the main one.
    """

    criterion: str
    verdict: Verdict
    cause: str
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run of the proof.

    Attributes:
        name: by which `soak prove NAME` runs it alone.
        what: what is planted, for a person.
        turns: the criteria that must turn, the main one first; none for a clean row, which must pass.
        faults: of the platform.
        disturbance: of the harness.
        profile: of the run.
        users: virtual users of the soak instead of the profile's.
        run_time: length of the soak instead of the profile's, as `--run-time` takes it.
        settings: variables of the platform that differ in this row.
        thresholds: limits that differ in this row.
        reduced: whether `--reduced` runs it too.
        expected_s: about how long the run takes (seconds); long ones are begun first.
    """

    name: str
    what: str
    turns: tuple[Turn, ...] = ()
    faults: tuple[Fault, ...] = ()
    disturbance: Disturbance | None = None
    profile: str = "prove"
    users: int | None = None
    run_time: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    reduced: bool = False
    expected_s: float = 100.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"row name {self.name!r}: lower-case letters, digits and underscores only")

    @property
    def is_clean(self) -> bool:
        """Whether nothing is planted, so that everything must pass."""
        return not self.turns

    def expected(self, criterion: str) -> Verdict:
        """The verdict that a criterion must give in this row."""
        return next((turn.verdict for turn in self.turns if turn.criterion == criterion), Verdict.PASS)
