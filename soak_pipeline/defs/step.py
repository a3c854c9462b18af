"""How a Dagster step becomes the context of a stage, and what happens when a stage that sends load ends badly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from soak_pipeline.defs import guarding
from soak_pipeline.defs.abandoned_runs import mark_worker
from soak_pipeline.defs.progress import ProgressLog
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.still_wanted import still_wanted
from soak_pipeline.stages import emergency
from soak_pipeline.stages.context import StageContext


def stage_context(context: dg.AssetExecutionContext, harness: Harness) -> StageContext:
    """The surroundings of a stage that sends no load."""
    return StageContext(
        folder=harness.folder(context.partition_key),
        environment=harness.environment,
        still_wanted=still_wanted(context.instance, context.run.run_id),
        on_progress=ProgressLog(context.log.info),
        log=context.log.info,
    )


@contextmanager
def load_stage(context: dg.AssetExecutionContext, harness: Harness) -> Iterator[StageContext]:
    """The surroundings of a stage after which tenants could be left open: on any error or interrupt they are blocked.

    Dagster starts no later step of a cancelled or failed run, `teardown` included. For the end that no process sees
    coming, the run has a guardian.
    """
    mark_worker(context.instance, context.run.run_id)
    guarding.guard(context, harness)
    stage = stage_context(context, harness)
    try:
        yield stage
    except BaseException:
        context.log.warning("the stage did not end as it should; stopping the load and blocking the tenants")
        with _interrupts_ignored():
            problem = emergency.stop_run(stage.folder, stage.environment)
            if not problem:
                guarding.release(context)
        if problem:
            context.log.warning(problem)
        raise
    guarding.step_ended(context)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A second Ctrl-C or Terminate must not break off the blocking of the tenants."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
