"""Finds runs whose process is gone without a word, stops what they left, and marks them as failed.

Every run is one process (in-process executor), which signs itself into the run's tags. A `kill -9`, a power cut or a
restart of the daemon leaves such a run "started" for ever; nobody else would tidy up after it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import dagster as dg
import psutil

from soak_pipeline.defs.resources import Harness
from soak_pipeline.stages import emergency

WORKER_TAG = "dagster/soak_worker"
"""With Dagster's own prefix a tag stays out of the list of runs, where it would tell an operator nothing."""
PARTITION_TAG = "dagster/partition"
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def mark_worker(instance: dg.DagsterInstance, run_id: str) -> None:
    """Signs this process into the tags of its run."""
    instance.add_run_tags(run_id, {WORKER_TAG: this_worker()})


def this_worker() -> str:
    """Host, process id and start time of this process; no later process has the same."""
    process = psutil.Process()
    return f"{platform.node()} {process.pid} {process.create_time():.2f}"


def is_gone(worker: str) -> bool:
    """Whether the process that signed so has ended; of another host nothing is known, so it has not."""
    host, pid, started = worker.rsplit(" ", 2)
    if host != platform.node():
        return False
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" != started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def fail_abandoned_runs(instance: dg.DagsterInstance, harness: Harness, log: Callable[[str], None]) -> list[str]:
    """Stops what abandoned runs left behind and marks them as failed.

    Returns:
        The run ids (partition keys) of those runs.
    """
    abandoned = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_IN_PROGRESS)):
        worker = run.tags.get(WORKER_TAG)
        if worker is None or not is_gone(worker):
            continue
        soak_run = run.tags[PARTITION_TAG]
        message = f"the process of soak run {soak_run} ({worker}) ended without a word"
        problem = emergency.stop_run(harness.folder(soak_run), harness.environment)
        if problem:
            message += f"; {problem}"
        log(message)
        instance.report_run_failed(run, message)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        abandoned.append(soak_run)
    return abandoned
