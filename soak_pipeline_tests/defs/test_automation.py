"""Schedule, queue and backfill, by real turns of the daemon: one soak after the other, whoever asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline_tests.defs.daemon import Daemon, running_daemon
from soak_pipeline_tests.defs.test_graph import PARENTS

SCHEDULE = "nightly_soak_schedule"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("automation")


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOAK_NIGHTLY_CRON", "30 3 * * 1-5")
        patch.setenv("SOAK_NIGHTLY_TARGET", "targets/staging.yaml")
        patch.setenv("SOAK_NIGHTLY_RELEASE", "main")
        patch.setenv("SOAK_REPORTS_DIR", str(folder / "reports"))
        with running_daemon(folder / "home") as daemon:
            yield daemon


def test_the_schedule_starts_one_nightly_run_per_tick(daemon: Daemon) -> None:
    """Monday, 23 November 2026, 03:30 UTC, as configured; off before somebody turns it on.

    A daemon that was down until Friday starts Friday's run only.
    """
    due = datetime(2026, 11, 23, 3, 30, tzinfo=UTC)
    key = "20261123T033000Z"
    daemon.tick_schedules(due + timedelta(seconds=10))
    assert daemon.runs(dagster__partition=key) == []

    daemon.start_schedule(SCHEDULE, due - timedelta(minutes=1))
    daemon.tick_schedules(due - timedelta(seconds=1))
    assert daemon.runs(dagster__partition=key) == []
    for seconds in (5, 40, 90):
        daemon.tick_schedules(due + timedelta(seconds=seconds))
    daemon.restart()
    daemon.tick_schedules(due + timedelta(seconds=120))
    (run,) = daemon.runs(dagster__partition=key)
    assert run.job_name == "nightly_soak"
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert run.run_config["ops"]["provision"]["config"] == {
        "profile": "nightly",
        "target_path": "targets/staging.yaml",
        "release": "main",
    }
    daemon.instance.delete_run(run.run_id)

    daemon.tick_schedules(due + timedelta(days=4, seconds=5))
    missed = [f"202611{day}T033000Z" for day in (24, 25, 26, 27)]
    caught_up = [run for key in missed for run in daemon.runs(dagster__partition=key)]
    assert [run.tags["dagster/partition"] for run in caught_up] == missed[-1:]
    daemon.instance.delete_run(caught_up[0].run_id)


def test_a_backfill_of_many_soak_runs_is_one_soak_at_a_time(daemon: Daemon, folder: Path) -> None:
    keys = ["20261123T200000Z", "20261123T200001Z"]
    daemon.tick_sensors("abandoned_soak")
    daemon.instance.add_dynamic_partitions("soak_runs", keys)
    daemon.backfill("all", list(PARENTS), keys)
    runs = daemon.runs(dagster__backfill="all")
    assert sorted(run.tags["dagster/partition"] for run in runs) == keys
    assert {run.status for run in runs} == {dg.DagsterRunStatus.QUEUED}
    launched, most_at_once = daemon.work_off_the_queue()
    assert most_at_once == 1
    assert sorted(launched) == keys
    assert {run.status for run in daemon.runs(dagster__backfill="all")} == {dg.DagsterRunStatus.SUCCESS}
    assert all(RunFolder(folder / "reports", key).output_versions("report") == [1] for key in keys)
