"""`dagster dev` as an operator uses it: web server, daemon, sensors and run workers, over fake stages.

Everything is asked through the web server's GraphQL, which is all that the UI itself has.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline_tests.defs.dagster_dev import ENDED, LOCATION, Dagster, dagster_dev, wait_for
from soak_pipeline_tests.defs.test_graph import PARENTS

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    with dagster_dev(tmp_path_factory.mktemp("project")) as dagster:
        yield dagster


def test_the_ui_shows_the_graph_and_the_automation(dagster: Dagster) -> None:
    repository = dagster.ask(
        """query($selector: RepositorySelector!) { repositoryOrError(repositorySelector: $selector) {
             ... on Repository { assetNodes { assetKey { path } dependencyKeys { path } description hasAssetChecks
               assetChecksOrError { ... on AssetChecks { checks { name blocking } } } }
             jobs { name }
             schedules { name scheduleState { status } }
             sensors { name sensorState { status } } } } }""",
        selector=LOCATION,
    )["repositoryOrError"]
    nodes = {node["assetKey"]["path"][-1]: node for node in repository["assetNodes"]}
    assert {name: {key["path"][-1] for key in node["dependencyKeys"]} for name, node in nodes.items()} == PARENTS
    checks = nodes["post_run_checks"]["assetChecksOrError"]["checks"]
    assert {check["name"] for check in checks} == {criterion.name for criterion in CRITERIA}
    assert nodes["report"]["assetChecksOrError"]["checks"] == [{"name": "promotion_is_allowed", "blocking": True}]
    assert {job["name"] for job in repository["jobs"]} >= {"smoke_soak", "nightly_soak", "rejudge", "request_soak"}
    assert [schedule["scheduleState"]["status"] for schedule in repository["schedules"]] == ["STOPPED"]
    sensors = {sensor["name"]: sensor["sensorState"]["status"] for sensor in repository["sensors"]}
    assert sensors.pop("release_candidate_sensor") == "STOPPED"
    assert set(sensors.values()) == {"RUNNING"}


def test_a_filled_in_form_runs_to_a_verdict(dagster: Dagster) -> None:
    request = dagster.launch("request_soak", {"profile": "smoke", "release": "v9", "run_time": "1s"}, "accept_request")
    run_id = str(wait_for(lambda: dagster.run(request)["tags"].get("soak/requested_run")))
    soak = wait_for(lambda: [run for run in dagster.runs() if run["tags"].get("dagster/partition") == run_id])[0]
    wait_for(lambda: dagster.run(soak["runId"])["status"] in ENDED)
    assert dagster.run(soak["runId"])["status"] == "SUCCESS"
    final = RunFolder(dagster.reports, run_id).read_output("report", FinalVerdict)
    assert (final.release, final.verdict) == ("v9", "PASS")


def test_soaks_queue_and_each_can_be_stopped(dagster: Dagster) -> None:
    """The first is terminated in the UI, the second is killed: both leave no tenant open, and none is retried."""
    first_id, second_id = "20261123T200000Z", "20261123T200001Z"
    first = dagster.start_soak(first_id)
    wait_for(lambda: dagster.run(first)["tags"].get("soak/worker"))
    second = dagster.start_soak(second_id)
    wait_for(lambda: RunFolder(dagster.reports, first_id).output_versions("agent_fanout"))
    assert dagster.run(second)["status"] == "QUEUED"

    dagster.ask("mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=first)
    wait_for(lambda: dagster.run(first)["status"] in ENDED)
    assert dagster.run(first)["status"] == "CANCELED"
    wait_for(dagster.control_file(first_id, "emergency.json").exists)
    assert dagster.control_file(first_id, "load_stopped.json").exists()

    worker = str(wait_for(lambda: dagster.run(second)["tags"].get("soak/worker")))
    wait_for(lambda: RunFolder(dagster.reports, second_id).output_versions("agent_fanout"))
    os.kill(int(worker.split(" ")[1]), signal.SIGKILL)
    wait_for(lambda: dagster.run(second)["status"] in ENDED)
    assert dagster.run(second)["status"] == "FAILURE"
    wait_for(dagster.control_file(second_id, "emergency.json").exists)
    assert [run["tags"].get("dagster/partition") for run in dagster.runs()].count(second_id) == 1
