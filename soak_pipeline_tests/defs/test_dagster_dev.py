"""`dagster dev` as an operator uses it: web server, daemon, sensors and run workers, over fake stages.

Everything is asked through the web server's GraphQL, which is all that the UI itself has.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.defs.launch import PROJECT_ROOT
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline_tests.defs.test_graph import PARENTS

PATIENCE_S = 120.0
LOCATION = {"repositoryLocationName": "soak_pipeline", "repositoryName": "__repository__"}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

pytestmark = pytest.mark.timeout(400)


class Dagster:
    """The UI's view of a running `dagster dev`."""

    def __init__(self, url: str, reports: Path) -> None:
        self.url = url
        self.reports = reports

    def ask(self, query: str, **variables: object) -> dict:
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def launch(self, job: str, form: dict[str, object], op: str, run_id: str | None = None) -> str:
        """Launches a job as the launchpad does; the Dagster id of the run."""
        launched = self.ask(
            """mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
                 ... on LaunchRunSuccess { run { runId } } } }""",
            parameters={
                "selector": {**LOCATION, "pipelineName": job},
                "mode": "default",
                "runConfigData": {"ops": {op: {"config": form}}},
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": run_id}] if run_id else []},
            },
        )
        return launched["launchRun"]["run"]["runId"]

    def start_soak(self, run_id: str) -> str:
        """Adds the partition and launches a smoke run, as the dialogue for a dynamic partition does."""
        self.ask(
            """mutation($selector: RepositorySelector!, $key: String!) { addDynamicPartition(
                 repositorySelector: $selector, partitionsDefName: "soak_runs", partitionKey: $key) { __typename } }""",
            selector=LOCATION,
            key=run_id,
        )
        return self.launch("smoke_soak", {"profile": "smoke"}, "provision", run_id)

    def runs(self) -> list[dict]:
        found = self.ask("{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }")
        return [
            {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}
            for run in found["runsOrError"]["results"]
        ]

    def run(self, dagster_run_id: str) -> dict:
        return next(run for run in self.runs() if run["runId"] == dagster_run_id)

    def control_file(self, run_id: str, name: str) -> Path:
        return RunFolder(self.reports, run_id).control_dir / name


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(what: Callable[[], object]) -> object:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.25)
    return found


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    """`dagster dev` without DAGSTER_HOME, in a folder that has only the project's settings and a workspace."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", folder)
    module = "soak_pipeline_tests.defs.fake_location"
    (folder / "workspace.yaml").write_text(
        f"load_from: [python_module: {{module_name: {module}, location_name: soak_pipeline,"
        f" working_directory: {PROJECT_ROOT}}}]\n"
    )
    port = _free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**environment, "SOAK_REPORTS_DIR": str(folder / "reports"), "FAKE_SOAK_S": "15", "HOME": str(folder)},
        )
    dagster = Dagster(f"http://127.0.0.1:{port}", folder / "reports")

    def serves() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with contextlib.suppress(httpx.HTTPError):
            return bool(httpx.get(f"{dagster.url}/server_info", timeout=5).is_success)
        return False

    try:
        _wait_for(serves)
        yield dagster
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
    telemetry = [path for path in (folder / ".dagster").rglob("*") if path.is_file()]
    assert telemetry == [], "Dagster wrote telemetry"


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
    run_id = str(_wait_for(lambda: dagster.run(request)["tags"].get("soak/requested_run")))
    soak = _wait_for(lambda: [run for run in dagster.runs() if run["tags"].get("dagster/partition") == run_id])[0]
    _wait_for(lambda: dagster.run(soak["runId"])["status"] in ENDED)
    assert dagster.run(soak["runId"])["status"] == "SUCCESS"
    final = RunFolder(dagster.reports, run_id).read_output("report", FinalVerdict)
    assert (final.release, final.verdict) == ("v9", "PASS")


def test_soaks_queue_and_each_can_be_stopped(dagster: Dagster) -> None:
    """The first is terminated in the UI, the second is killed: both leave no tenant open, and none is retried."""
    first_id, second_id = "20261123T200000Z", "20261123T200001Z"
    first = dagster.start_soak(first_id)
    _wait_for(lambda: dagster.run(first)["tags"].get("soak/worker"))
    second = dagster.start_soak(second_id)
    _wait_for(lambda: RunFolder(dagster.reports, first_id).output_versions("agent_fanout"))
    assert dagster.run(second)["status"] == "QUEUED"

    dagster.ask("mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=first)
    _wait_for(lambda: dagster.run(first)["status"] in ENDED)
    assert dagster.run(first)["status"] == "CANCELED"
    _wait_for(dagster.control_file(first_id, "emergency.json").exists)
    assert dagster.control_file(first_id, "load_stopped.json").exists()

    worker = str(_wait_for(lambda: dagster.run(second)["tags"].get("soak/worker")))
    _wait_for(lambda: RunFolder(dagster.reports, second_id).output_versions("agent_fanout"))
    os.kill(int(worker.split(" ")[1]), signal.SIGKILL)
    _wait_for(lambda: dagster.run(second)["status"] in ENDED)
    assert dagster.run(second)["status"] == "FAILURE"
    _wait_for(dagster.control_file(second_id, "emergency.json").exists)
    assert [run["tags"].get("dagster/partition") for run in dagster.runs()].count(second_id) == 1
