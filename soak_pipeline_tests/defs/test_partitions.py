"""Every run has a partition of its own."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from soak_pipeline.defs.partitions import add_soak_run, ensure_soak_run

MOMENT = datetime(2026, 11, 23, 7, 30, 59, tzinfo=UTC)


def test_two_runs_of_the_same_second_get_the_next_one(instance: dg.DagsterInstance) -> None:
    assert [add_soak_run(instance, MOMENT) for _ in range(3)] == [
        "20261123T073059Z",
        "20261123T073100Z",
        "20261123T073101Z",
    ]
    assert len(instance.get_dynamic_partitions("soak_runs")) == 3


def test_the_first_run_of_an_instance_makes_its_pool_known(instance: dg.DagsterInstance) -> None:
    """Else the queue would let every run pass that it meets in its first turn."""
    assert "soak_target" not in instance.event_log_storage.get_concurrency_keys()
    add_soak_run(instance, MOMENT)
    assert instance.event_log_storage.get_concurrency_info("soak_target").slot_count == 1


def test_a_limit_that_an_operator_has_set_is_kept(instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots("soak_target", 2)
    ensure_soak_run(instance, "20261123T073059Z")
    assert instance.event_log_storage.get_concurrency_info("soak_target").slot_count == 2


def test_a_partition_that_exists_is_kept(instance: dg.DagsterInstance) -> None:
    ensure_soak_run(instance, "20261123T073059Z")
    ensure_soak_run(instance, "20261123T073059Z")
    assert instance.get_dynamic_partitions("soak_runs") == ["20261123T073059Z"]
