"""A step sees that its own run has ended without it."""

from __future__ import annotations

import dagster as dg
import pytest

from soak_pipeline.defs.still_wanted import CHECK_INTERVAL_S, STORE_OUTAGE_S, StillWanted, still_wanted

Status = dg.DagsterRunStatus


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Store:
    """A run's status in a store that can be out of order; counts how often it is read."""

    def __init__(self, status: Status | None = Status.STARTED) -> None:
        self.status = status
        self.broken = False
        self.reads = 0

    def __call__(self) -> Status | None:
        self.reads += 1
        if self.broken:
            raise OSError("database is locked")
        return self.status


def _after_a_second(store: Store) -> bool:
    clock = Clock()
    wanted = StillWanted(store, clock=clock)
    clock.now += CHECK_INTERVAL_S
    return wanted()


@pytest.mark.parametrize("status", [Status.STARTING, Status.STARTED])
def test_a_run_in_progress_is_wanted(status: Status) -> None:
    assert _after_a_second(Store(status))


@pytest.mark.parametrize("status", [Status.CANCELING, Status.CANCELED, Status.FAILURE, Status.SUCCESS, None])
def test_a_run_that_ended_or_is_gone_is_not(status: Status | None) -> None:
    assert not _after_a_second(Store(status))


def test_the_store_is_read_at_most_once_a_second() -> None:
    clock, store = Clock(), Store()
    wanted = StillWanted(store, clock=clock)
    for _ in range(30):
        clock.now += CHECK_INTERVAL_S / 10
        wanted()
    assert store.reads == pytest.approx(3, abs=1)


def test_once_unwanted_it_stays_so() -> None:
    clock, store = Clock(), Store(Status.CANCELED)
    wanted = StillWanted(store, clock=clock)
    clock.now += CHECK_INTERVAL_S
    assert not wanted()
    store.status = Status.STARTED
    clock.now += 10
    assert not wanted()


def test_a_store_that_cannot_be_read_counts_as_wanted_for_a_bounded_time() -> None:
    clock, store = Clock(), Store()
    wanted = StillWanted(store, clock=clock)
    clock.now += CHECK_INTERVAL_S
    assert wanted()
    store.broken = True
    clock.now += STORE_OUTAGE_S - 1
    assert wanted()
    clock.now += 1
    assert not wanted()


def test_a_store_that_recovers_starts_the_time_anew() -> None:
    clock, store = Clock(), Store()
    wanted = StillWanted(store, clock=clock)
    for broken in (True, False, True):
        store.broken = broken
        clock.now += STORE_OUTAGE_S - 1
        assert wanted()


def test_a_run_of_a_real_instance(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(dg.GraphDefinition("empty").to_job(), status=Status.STARTED)
    read_status = still_wanted(instance, run.run_id)._read_status
    assert read_status() is Status.STARTED
    instance.report_run_canceling(run)
    assert read_status() is Status.CANCELING
    instance.delete_run(run.run_id)
    assert read_status() is None
