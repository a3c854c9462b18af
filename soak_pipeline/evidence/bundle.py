"""Everything that a criterion may look at, read from one run folder.

A stage that has not run, or whose output cannot be read, is None, with the reason kept: its criteria become
INCONCLUSIVE, never PASS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import msgspec

from soak_pipeline.evidence.requests import RequestTable, read_requests
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.evidence.seal import damage_of
from soak_pipeline.evidence.telemetry import Telemetry, read_telemetry
from soak_pipeline.model.errors import EvidenceUnreadable
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.stage_outputs import (
    FanoutEvidence,
    PhaseEvidence,
    PlatformEvidence,
    ProvisionedRun,
    TeardownReceipt,
)
from soak_pipeline.model.thresholds import Thresholds

T = TypeVar("T")

STAGE_OUTPUTS: dict[str, type] = {
    "provision": ProvisionedRun,
    "baseline": PhaseEvidence,
    "burst": PhaseEvidence,
    "agent_fanout": FanoutEvidence,
    "soak": PhaseEvidence,
    "teardown": TeardownReceipt,
    "platform_evidence": PlatformEvidence,
}


@dataclass(frozen=True)
class RunEvidence:
    """The evidence of one run.

    Attributes:
        plan: the frozen plan.
        thresholds: the limits to judge by; the plan's own unless changed by the caller.
        provision ... platform_evidence: outputs of the stages of that name; None when missing.
        missing: per missing stage, why.
        plan_hash: of the stored plan as it was frozen, by whatever version; read on first use.
        requests: every request record; read on first use.
        telemetry: every telemetry series; read on first use.
        damage: what is not as it was sealed, one sentence each; looked for on first use.
    """

    plan: Plan
    thresholds: Thresholds
    provision: ProvisionedRun | None
    baseline: PhaseEvidence | None
    burst: PhaseEvidence | None
    agent_fanout: FanoutEvidence | None
    soak: PhaseEvidence | None
    teardown: TeardownReceipt | None
    platform_evidence: PlatformEvidence | None
    folder: RunFolder
    missing: dict[str, str] = field(default_factory=dict)

    def thresholds_of(self, tenant: str) -> Thresholds:
        """The limits to judge one tenant by: a limit that the caller changed holds for every tenant."""
        own = {
            name: value
            for name, value in self.plan.tenant(tenant).limits.items()
            if getattr(self.thresholds, name) == getattr(self.plan.thresholds, name)
        }
        return msgspec.structs.replace(self.thresholds, **own)

    @cached_property
    def plan_hash(self) -> str:
        """Of the stored plan as it was frozen."""
        return self.folder.plan_hash()

    @cached_property
    def requests(self) -> RequestTable:
        """Every request record of the run."""
        return read_requests(self.folder.requests_dir)

    @cached_property
    def telemetry(self) -> Telemetry:
        """Every telemetry series of the run."""
        return read_telemetry(self.folder.path)

    @cached_property
    def damage(self) -> tuple[str, ...]:
        """Evidence that changed, vanished or came after it was sealed; runs of the first format have no seal."""
        return damage_of(self.folder.path, must_be_sealed=self.plan.is_sealed)


def read_evidence(folder: RunFolder, thresholds: Thresholds | None = None) -> RunEvidence:
    """The evidence of a run folder.

    Raises:
        EvidenceUnreadable: there is no readable plan of this run; without it there is nothing to judge by.
    """
    plan = folder.read_plan()
    if plan.run_id != folder.run_id:
        raise EvidenceUnreadable(f"{folder.plan_path} is the plan of run {plan.run_id}, not of this folder's")
    outputs: dict[str, object | None] = {}
    missing: dict[str, str] = {}
    for stage, output_type in STAGE_OUTPUTS.items():
        try:
            outputs[stage] = folder.read_output(stage, output_type)
        except EvidenceUnreadable as error:
            outputs[stage] = None
            missing[stage] = str(error)
    return RunEvidence(
        plan=plan,
        thresholds=plan.thresholds if thresholds is None else thresholds,
        folder=folder,
        missing=missing,
        **outputs,  # type: ignore[arg-type]
    )
