"""One soak run is one partition; its key is the run id, the UTC timestamp that also names the run folder."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from soak_pipeline.model.plan import run_id_of

SOAK_TARGET_POOL = "soak_target"
"""Concurrency pool of everything that sends load; `dagster.yaml` gives it to one run at a time."""

soak_runs = dg.DynamicPartitionsDefinition(name="soak_runs")


def add_soak_run(instance: dg.DagsterInstance, moment: datetime) -> str:
    """Adds the partition of a run that starts at a moment, or at the first later second that is still free.

    Returns:
        Its key.
    """
    taken = set(instance.get_dynamic_partitions(_NAME))
    while (key := run_id_of(moment)) in taken:
        moment += timedelta(seconds=1)
    ensure_soak_run(instance, key)
    return key


def ensure_soak_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Adds the partition of a run id; one that exists is kept."""
    announce_pool(instance)
    instance.add_dynamic_partitions(_NAME, [run_id])


def announce_pool(instance: dg.DagsterInstance) -> None:
    """Makes the pool known to an instance, with its default limit; a limit that was set is kept.

    Dagster learns of a pool when the queue first meets it, and lets all runs of that first turn pass at once.
    """
    if SOAK_TARGET_POOL not in instance.event_log_storage.get_concurrency_keys():
        instance.event_log_storage.initialize_concurrency_limit_to_default(SOAK_TARGET_POOL)


_NAME = "soak_runs"
