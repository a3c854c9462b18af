"""What every stage is given: the run's folder, the secrets' environment, and ways to ask and to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.plan import Plan
from soak_pipeline.model.progress import Progress
from soak_pipeline.target.config import ResolvedTarget, resolve


@dataclass(frozen=True)
class StageContext:
    """The surroundings of a stage.

    Attributes:
        folder: of the run.
        environment: where the secrets are looked up; never shown.
        still_wanted: false once the run was cancelled or its parent is gone; a load stops within seconds of that.
        on_progress: called about once a second while load runs.
        log: one line for a person.
    """

    folder: RunFolder
    environment: Mapping[str, str] = field(repr=False)
    still_wanted: Callable[[], bool]
    on_progress: Callable[[Progress], None]
    log: Callable[[str], None]

    @property
    def plan(self) -> Plan:
        """The frozen plan of the run.

        Raises:
            EvidenceUnreadable: `provision` has not frozen one yet.
        """
        return self.folder.read_plan()

    def target(self) -> ResolvedTarget:
        """The plan's target with its addresses and credentials from the environment.

        Raises:
            BadInput: a variable that the target file names is not set.
        """
        return resolve(self.plan.target, self.environment)
