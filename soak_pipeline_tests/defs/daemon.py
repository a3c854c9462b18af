"""The parts of the Dagster daemon, turn by turn: sensors, schedules, the run queue and backfills, over fake stages.

The instance is on disk, the code location is a server process of its own, runs are launched as processes: all as the
daemon does, but at the moment that a test chooses.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.remote_representation.external import RemoteRepository, RemoteSensor
from dagster._core.scheduler.instigation import InstigatorTick
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.stages.dagster_home import INSTANCE_SETTINGS
from soak_pipeline_tests.waiting import wait_for

IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
_LOGGER = logging.getLogger("daemon")


class Daemon:
    """One `DAGSTER_HOME` with a code location; can be restarted."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        shutil.copyfile(INSTANCE_SETTINGS, home / "dagster.yaml")
        self._home = home
        self._moment = datetime(2030, 1, 1, tzinfo=UTC)
        self._open = ExitStack()
        self.start()

    def start(self) -> None:
        """Opens the instance and starts the code server."""
        self.instance = self._open.enter_context(dg.DagsterInstance.from_config(str(self._home)))
        target = ModuleTarget("soak_pipeline_tests.defs.fake_location", None, str(PROJECT_ROOT), "soak_pipeline")
        self._context = self._open.enter_context(create_test_daemon_workspace_context(target, self.instance))
        self._queue = self._open.enter_context(QueuedRunCoordinatorDaemon(interval_seconds=1))

    def stop(self) -> None:
        """Ends the code server and closes the instance; what is on disk stays."""
        self._open.close()

    def restart(self) -> None:
        """As after a reboot."""
        self.stop()
        self.start()

    @property
    def repository(self) -> RemoteRepository:
        """The definitions, as the daemon sees them."""
        (entry,) = self._context.create_request_context().get_code_location_entries().values()
        assert entry.code_location is not None, entry.load_error
        (repository,) = entry.code_location.get_repositories().values()
        return repository

    def sensor(self, name: str) -> RemoteSensor:
        """A sensor of the code location."""
        return self.repository.get_sensor(name)

    def tick_sensors(self, name: str) -> InstigatorTick:
        """Evaluates every sensor that is on, a minute after the last time; the newest tick of one of them."""
        self._moment += timedelta(seconds=61)
        with freeze_time(self._moment):
            list(execute_sensor_iteration(self._context, _LOGGER, None, None))
        sensor = self.sensor(name)
        return self.instance.get_ticks(sensor.get_remote_origin_id(), sensor.selector_id, limit=1)[0]

    def lose_cursor(self, name: str) -> None:
        """Forgets what a sensor remembers, as a state that was never stored or was removed."""
        sensor = self.sensor(name)
        state = self.instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
        assert state is not None
        assert state.instigator_type is InstigatorType.SENSOR
        self.instance.update_instigator_state(
            state.with_data(state.instigator_data.__class__(sensor_type=state.instigator_data.sensor_type))
        )

    def tick_schedules(self, moment: datetime) -> None:
        """Evaluates every schedule that is on, at a moment."""
        with freeze_time(moment):
            list(launch_scheduled_runs(self._context, _LOGGER, moment, iteration_times={}))

    def start_schedule(self, name: str, moment: datetime) -> None:
        """Turns a schedule on, at a moment."""
        with freeze_time(moment):
            self.instance.start_schedule(self.repository.get_schedule(name))

    def backfill(self, name: str, assets: list[str], partitions: list[str]) -> None:
        """Asks for a backfill as the UI does, and lets the daemon take it up."""
        self.instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=name,
                asset_graph=self._context.create_request_context().asset_graph,
                partition_names=partitions,
                asset_selection=[dg.AssetKey(asset) for asset in assets],
                backfill_timestamp=time.time(),
                tags={},
                dynamic_partitions_store=self.instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
        )
        list(execute_backfill_iteration(self._context, _LOGGER))

    def launch_from_queue(self) -> None:
        """Launches the queued runs that may start now."""
        list(self._queue.run_iteration(self._context))

    def runs(self, **tags: str) -> list[dg.DagsterRun]:
        """Runs with those tags, oldest first."""
        filters = dg.RunsFilter(tags={name.replace("__", "/"): value for name, value in tags.items()})
        return list(self.instance.get_runs(filters=filters))[::-1]

    def work_off_the_queue(self) -> tuple[list[str], int]:
        """Lets the queue run empty.

        Returns:
            Partition keys in the order in which their runs were launched, and the most runs in progress at once.
        """
        launched: list[str] = []
        most = 0

        def empty() -> bool:
            nonlocal most
            self.launch_from_queue()
            runs = self.instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
            launched.extend(key for run in runs if (key := run.tags["dagster/partition"]) not in launched)
            most = max(most, len(runs))
            queued = self.instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
            return not runs and not queued

        wait_for(empty, "the queue is empty and no run is in progress")
        return launched, most


@contextmanager
def running_daemon(home: Path) -> Iterator[Daemon]:
    """A daemon that is stopped in the end."""
    daemon = Daemon(home)
    try:
        yield daemon
    finally:
        daemon.stop()
