"""Where run folders and secrets come from."""

import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from pydantic import Field

from soak_pipeline.evidence.run_folder import RunFolder

REPORTS_DIR_VARIABLE = "SOAK_REPORTS_DIR"


class Harness(dg.ConfigurableResource[None]):
    """The surroundings that every stage needs."""

    reports_dir: str = Field(description="Folder of the results, relative to the working directory or absolute.")

    def folder(self, run_id: str) -> RunFolder:
        """The run folder of a run id.

        Raises:
            BadInput: the partition key is not a run id.
        """
        return RunFolder(Path(self.reports_dir).absolute(), run_id)

    @property
    def environment(self) -> Mapping[str, str]:
        """The process's environment, where the target file's variable names are looked up; never shown."""
        return os.environ


def harness_from_environment() -> Harness:
    """The harness with its reports under `SOAK_REPORTS_DIR`, by default `reports`."""
    return Harness(reports_dir=os.environ.get(REPORTS_DIR_VARIABLE) or "reports")
