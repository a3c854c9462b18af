"""One soak run is one partition; its key is the run id, the UTC timestamp that also names the run folder."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from soak_pipeline.model.plan import run_id_of

soak_runs = dg.DynamicPartitionsDefinition(name="soak_runs")


def add_soak_run(instance: dg.DagsterInstance, moment: datetime) -> str:
    """Adds the partition of a run that starts at a moment, or at the first later second that is still free.

    Returns:
        Its key.
    """
    taken = set(instance.get_dynamic_partitions(_NAME))
    while (key := run_id_of(moment)) in taken:
        moment += timedelta(seconds=1)
    instance.add_dynamic_partitions(_NAME, [key])
    return key


def ensure_soak_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Adds the partition of a run id; one that exists is kept."""
    instance.add_dynamic_partitions(_NAME, [run_id])


_NAME = "soak_runs"
