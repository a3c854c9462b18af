"""Soaks that wait for each other and are stopped, through `dagster dev` over fake stages, as the UI asks for it.

A module of its own: what it stops are the latest runs of every asset, which is what the UI shows.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from soak_pipeline.defs.abandoned_runs import WORKER_TAG
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline_tests.defs.dagster_dev import ENDED, dagster_dev
from soak_pipeline_tests.waiting import wait_for


def test_soaks_queue_and_each_can_be_stopped(tmp_path: Path) -> None:
    """The first is terminated in the UI, the second is killed: both leave no tenant open, and none is retried."""
    with dagster_dev(tmp_path) as dagster:
        first_id, second_id = "20261123T200000Z", "20261123T200001Z"
        first = dagster.start_soak(first_id)
        wait_for(lambda: dagster.run(first)["tags"].get(WORKER_TAG))
        second = dagster.start_soak(second_id)
        wait_for(lambda: RunFolder(dagster.reports, first_id).output_versions("agent_fanout"))
        assert dagster.run(second)["status"] == "QUEUED"

        dagster.ask("mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=first)
        wait_for(lambda: dagster.run(first)["status"] in ENDED)
        assert dagster.run(first)["status"] == "CANCELED"
        # A run counts as cancelled as soon as it is asked to end; its worker ends the load and blocks the tenants then.
        wait_for(dagster.control_file(first_id, "load_stopped.json").exists, "the load is stopped")
        wait_for(dagster.control_file(first_id, "emergency.json").exists, "the tenants are blocked")

        worker = str(wait_for(lambda: dagster.run(second)["tags"].get(WORKER_TAG)))
        wait_for(lambda: RunFolder(dagster.reports, second_id).output_versions("agent_fanout"))
        os.kill(int(worker.split(" ")[1]), signal.SIGKILL)
        wait_for(lambda: dagster.run(second)["status"] in ENDED)
        assert dagster.run(second)["status"] == "FAILURE"
        wait_for(dagster.control_file(second_id, "emergency.json").exists)
        assert [run["tags"].get("dagster/partition") for run in dagster.runs()].count(second_id) == 1
