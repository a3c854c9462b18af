"""Whether a step's own run is still in progress, so that the load stops with a run that ended without it.

A run that is force-terminated or marked as failed leaves its worker alive; the lease alone would then go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import dagster as dg

from soak_pipeline.defs import cancellation

CHECK_INTERVAL_S = 1.0
STORE_OUTAGE_S = 60.0

_WANTED = frozenset({dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED})


class StillWanted:
    """Answers from the run's status, read at most once per `CHECK_INTERVAL_S`.

    A store that cannot be read says nothing about the run: the last answer holds for `STORE_OUTAGE_S`. After that the
    load stops, because nobody could stop it by cancelling the run.
    """

    def __init__(
        self,
        read_status: Callable[[], dg.DagsterRunStatus | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_status = read_status
        self._clock = clock
        self._answer = True
        self._checked_at = self._read_at = clock()

    def __call__(self) -> bool:
        """False once the run is cancelled, ended or deleted, or its status unknown for too long."""
        now = self._clock()
        if self._answer and now - self._checked_at >= CHECK_INTERVAL_S:
            self._checked_at = now
            try:
                self._answer = self._read_status() in _WANTED
                self._read_at = now
            except Exception:
                self._answer = now - self._read_at < STORE_OUTAGE_S
        return self._answer


def still_wanted(instance: dg.DagsterInstance, run_id: str) -> StillWanted:
    """Watches a run of an instance, and whether this process was asked to end it."""

    def read_status() -> dg.DagsterRunStatus | None:
        if cancellation.asked():
            return dg.DagsterRunStatus.CANCELING
        run = instance.get_run_by_id(run_id)
        return None if run is None else run.status

    return StillWanted(read_status)
