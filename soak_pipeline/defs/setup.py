"""What every run gets unless it says otherwise: resources, IO manager, executor, console."""

import dagster as dg

from soak_pipeline.defs.console import console
from soak_pipeline.defs.io_manager import RunFolderIOManager
from soak_pipeline.defs.resources import harness_from_environment


@dg.definitions
def setup() -> dg.Definitions:
    """Resources read the environment when the code location loads, never when this module is imported."""
    harness = harness_from_environment()
    return dg.Definitions(
        resources={"harness": harness, "io_manager": RunFolderIOManager(harness=harness)},
        executor=dg.in_process_executor,
        loggers={"console": console},
    )
