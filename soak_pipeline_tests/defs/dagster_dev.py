"""`dagster dev` over fake stages, for the tests that use it as an operator does: web server, daemon, run workers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.commands.ui import GRPC_TIMEOUT_S, GRPC_TIMEOUT_VARIABLE, end_group
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline_tests.infra.servers import free_port
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

LOCATION = {"repositoryLocationName": "soak_pipeline", "repositoryName": "__repository__"}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


class Dagster:
    """The UI's view of a running `dagster dev`."""

    def __init__(self, url: str, reports: Path) -> None:
        self.url = url
        self.reports = reports

    def ask(self, query: str, **variables: object) -> dict:
        answer = httpx.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=PATIENCE_S
        ).json()
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
        """Adds the partition and launches a smoke run, as the dialogue for a dynamic partition does.

        Its soak lasts until it is stopped.
        """
        self.ask(
            """mutation($selector: RepositorySelector!, $key: String!) { addDynamicPartition(
                 repositorySelector: $selector, partitionsDefName: "soak_runs", partitionKey: $key) { __typename } }""",
            selector=LOCATION,
            key=run_id,
        )
        return self.launch("smoke_soak", {"profile": "smoke", "run_time": "24h"}, "provision", run_id)

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


def serves(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    """Whether Dagster's web server answers; an error with its log when its process has ended."""
    assert process.poll() is None, log.read_text()
    with contextlib.suppress(httpx.HTTPError):
        return bool(httpx.get(f"{url}/server_info", timeout=PATIENCE_S).is_success)
    return False


def end_dagster(process: subprocess.Popen[bytes]) -> None:
    """Ends Dagster with all its processes, which are one process group, as `soak ui` does.

    A code server asks the gRPC server behind it to end once, and waits 15 s for an answer. When none comes, it waits
    for that server to end, and sends it heartbeats meanwhile, so that both live for good.
    """
    end_group(process.pid)
    process.wait(PATIENCE_S)


@contextmanager
def dagster_dev(folder: Path) -> Iterator[Dagster]:
    """`dagster dev` without DAGSTER_HOME, in a folder with only the project's settings, targets and a workspace.

    A run whose process is gone is looked for oftener than every 30 s, which the tests would only wait for.

    Args:
        folder: an empty one.
    """
    settings = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    settings["run_monitoring"]["poll_interval_seconds"] = 5
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    shutil.copytree(PROJECT_ROOT / "infra" / "targets", folder / "infra" / "targets")
    module = "soak_pipeline_tests.defs.fake_location"
    (folder / "workspace.yaml").write_text(
        f"load_from: [python_module: {{module_name: {module}, location_name: soak_pipeline,"
        f" working_directory: {PROJECT_ROOT}}}]\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment
            | {
                GRPC_TIMEOUT_VARIABLE: str(GRPC_TIMEOUT_S),
                "SOAK_REPORTS_DIR": str(folder / "reports"),
                "FAKE_SOAK_S": f"{PATIENCE_S:g}",
                "HOME": str(folder),
            },
            start_new_session=True,
        )
    dagster = Dagster(f"http://127.0.0.1:{port}", folder / "reports")

    try:
        wait_for(lambda: serves(process, dagster.url, folder / "log"), "Dagster's web server answers")
        yield dagster
    finally:
        end_dagster(process)
    telemetry = [path for path in (folder / ".dagster").rglob("*") if path.is_file()]
    assert telemetry == [], "Dagster wrote telemetry"
