"""Real runs to break: of `soak run`, and of `soak ui` through its web server; each in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import psutil

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.defs.abandoned_runs import WORKER_TAG
from soak_pipeline.evidence.progress import read_progress
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.plan import Plan, run_id_of
from soak_pipeline.target.config import load_target
from soak_pipeline_tests.crash.observing import processes_of
from soak_pipeline_tests.defs.dagster_dev import ENDED, LOCATION
from soak_pipeline_tests.load.processes import load_processes
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of
from soak_pipeline_tests.target.prometheus_server import start_prometheus

PATIENCE_S = 600.0
"""For a UI or a run to start, on a machine that has other work as well (seconds); nothing that is measured."""

ANSWER_LIMIT_S = 120.0
"""For an answer of the UI's web server (seconds); long for the same reason."""

PORTS = {"gateway": 34000, "postgres": 34433, "redis": 34380, "metrics": 34100, "ui": 34300, "prometheus": 34390}
SELECTED = ("provision", "soak", "teardown", "platform_evidence", "post_run_checks", "report")
"""Assets of a run of the UI: what is broken here is the soak, and `soak run` has the others too."""

STEADY_S = 8.0
"""Of the soak, before anything is broken (seconds)."""

T = TypeVar("T")

SHORT = msgspec.structs.replace(
    profile_of("smoke"),
    users=50,
    pace_s=0.5,
    soak_s=30.0,
    warmup_s=2.0,
    load_workers=2,
    agents_per_tenant=3,
    fairness=msgspec.structs.replace(
        profile_of("smoke").fairness,
        quiet_users=8,
        noisy_users_baseline=2,
        noisy_users_burst=16,
        window_s=1.5,
        warmup_s=1.0,
        pairs_by_look=(3,),
    ),
)
"""The smoke profile with little fairness before its soak: what is broken here is the soak."""


def short_plan(run_id: str, soak_s: float = SHORT.soak_s, prometheus_url: str | None = None) -> Plan:
    """The plan of a run to break; it is frozen before the pipeline would freeze its own."""
    target = load_target(PROJECT_ROOT / "infra" / "targets" / "embedded.yaml")
    return plan_by(
        run_id=run_id,
        profile=msgspec.structs.replace(SHORT, soak_s=soak_s),
        target=msgspec.structs.replace(target, prometheus_url=prometheus_url),
        thresholds=default_thresholds(),
        seed=int.from_bytes(run_id.encode()[-7:], "big") % 2**31,
    )


def wait_for(question: Callable[[], T | None], what: str, limit_s: float = PATIENCE_S) -> T:
    """The first true answer of a question.

    Raises:
        TimeoutError: there is none in time.
    """
    deadline = time.monotonic() + limit_s
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.1)
    return answer


class CannotStart(Exception):
    """A run did not come to its soak; the text says why."""


class Surroundings:
    """A directory with state, platform and reports of its own, and the processes started in it.

    Args:
        directory: everything goes there.
        reports: where the run folders go; within the directory by default.
    """

    def __init__(self, directory: Path, reports: Path | None = None) -> None:
        self.directory = directory
        self.reports = reports or directory / "reports"
        self.state_dir = directory / "state"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ACP_", "SOAK_", "LOCUST_"))}
        own.pop("DAGSTER_HOME", None)
        self.environment: Mapping[str, str] = own | {
            "SOAK_STATE_DIR": str(self.state_dir),
            "ACP_STATE_DIR": str(directory / "platform"),
            "ACP_GATEWAY_PORT": str(PORTS["gateway"]),
            "ACP_POSTGRES_PORT": str(PORTS["postgres"]),
            "ACP_REDIS_PORT": str(PORTS["redis"]),
            "ACP_METRICS_FIRST_PORT": str(PORTS["metrics"]),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._prometheus: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a `soak` command, its output in a file."""
        self.reports.mkdir(parents=True, exist_ok=True)
        with (self.directory / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "soak_pipeline.cli", *arguments, "--reports", str(self.reports)],
                env=dict(self.environment),
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.process

    def start_prometheus(self) -> str:
        """Starts a Prometheus that scrapes the platform's gateway every second; its address once it can be asked.

        The platform need not run yet: the scrapes fail until it does.
        """
        folder = self.directory / "prometheus"
        folder.mkdir(exist_ok=True)
        url = f"http://127.0.0.1:{PORTS['prometheus']}"
        gateway = f"127.0.0.1:{PORTS['gateway']}"
        self._prometheus = start_prometheus(gateway, folder, PORTS["prometheus"], scrape_interval_ms=1_000)

        def is_ready() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return bool(httpx.get(f"{url}/-/ready", timeout=5).is_success)
            return False

        wait_for(is_ready, "Prometheus is ready")
        return url

    def prometheus_pid(self) -> int:
        """The Prometheus that was started last; it lives."""
        assert self._prometheus is not None
        assert self._prometheus.poll() is None
        return self._prometheus.pid

    def platform(self) -> dict[str, str]:
        """Environment with the addresses and credentials of the platform; empty while it does not run."""
        done = self._acp("env", "--json")
        return {**self.environment, **json.loads(done.stdout)} if done.returncode == 0 else {}

    def stack_pid(self, name: str) -> int:
        """A process of the platform by its name."""
        status = json.loads(self._acp("status", "--json").stdout)
        return next(int(process["pid"]) for process in status["processes"] if process["name"] == name)

    def starter_pid(self) -> int:
        """The `soak` command."""
        assert self.process is not None
        return self.process.pid

    def dagster_pid(self, words: str) -> int:
        """The eldest process of Dagster with such words on its command line."""
        found = [
            process
            for process in processes_of(self.directory)
            if words in " ".join(process.cmdline()) and "multiprocessing" not in " ".join(process.cmdline())
        ]
        return min(found, key=lambda process: process.create_time()).pid

    def output(self) -> str:
        """The last lines of what the `soak` commands printed."""
        with contextlib.suppress(OSError):
            return "\n".join((self.directory / "output.log").read_text(errors="replace").splitlines()[-25:])
        return ""

    def end(self) -> None:
        """Ends whatever is left of everything that was started here."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(90)
        self._acp("down")
        for process in processes_of(self.directory):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for child in (self.process, self._prometheus):
            if child is not None:
                child.wait(30)

    def _acp(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "infra.acp", *arguments],
            env=dict(self.environment),
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


class Run:
    """A run that was started; as a scene, what an infliction may lay hands on."""

    def __init__(self, surroundings: Surroundings, folder: RunFolder) -> None:
        self.surroundings = surroundings
        self.folder = folder
        self.starter_pid = surroundings.starter_pid
        self.dagster_pid = surroundings.dagster_pid
        self.stack_pid = surroundings.stack_pid
        self.prometheus_pid = surroundings.prometheus_pid
        self.reports = surroundings.reports

    def load_pid(self, role: str) -> int:
        """The first load process of a role."""
        return min(load_processes(self.folder.path, role))

    def wait_until_it_soaks(self) -> None:
        """Until the soak has gone on for `STEADY_S`.

        Raises:
            CannotStart: it ended before.
            TimeoutError: it never came to it.
        """

        begun_s = self.folder.read_plan().profile.soak_s - STEADY_S

        def soaks() -> bool:
            if self.has_ended():
                raise CannotStart(f"run {self.folder.run_id} ended before it came to its soak")
            seconds_left = self._soak_seconds_left()
            return seconds_left is not None and seconds_left < begun_s

        wait_for(soaks, f"run {self.folder.run_id} soaks")

    def require_soaking(self) -> None:
        """Makes sure that the soak still goes on: on a busy machine it may be over before anything is broken.

        Raises:
            CannotStart: it has ended, or is about to.
        """
        seconds_left = self._soak_seconds_left()
        if seconds_left is None or seconds_left < STEADY_S:
            raise CannotStart(f"the soak of run {self.folder.run_id} is over, or nearly, before anything was broken")

    def _soak_seconds_left(self) -> float | None:
        """By the load's own progress; None while, or after, it does not soak."""
        progress = read_progress(self.folder.control_dir / "progress.json")
        return progress.seconds_left if progress is not None and progress.phase == "soak" else None

    def run_worker_pid(self) -> int:
        """The process that carries the run out."""
        raise NotImplementedError

    def terminate_in_the_ui(self) -> None:
        """The UI's Terminate."""
        raise NotImplementedError

    def has_ended(self) -> bool:
        """Whether whoever started the run says that it is over."""
        raise NotImplementedError


class CommandRun(Run):
    """A run of `soak run`."""

    def run_worker_pid(self) -> int:
        """The pipeline's process."""
        return self.surroundings.dagster_pid("soak_pipeline.defs.launch")

    def has_ended(self) -> bool:
        """Whether the command has ended."""
        assert self.surroundings.process is not None
        return self.surroundings.process.poll() is not None


def start_command_run(surroundings: Surroundings, soak_s: float, prometheus_url: str | None = None) -> CommandRun:
    """Starts `soak run`, and freezes the short plan while its pipeline loads its libraries."""
    before = set(_run_ids(surroundings.reports))
    process = surroundings.start("run", "--profile", "smoke")

    def run_id() -> str | None:
        if process.poll() is not None:
            raise CannotStart(f"soak run ended with {process.returncode}\n{surroundings.output()}")
        return next(iter(set(_run_ids(surroundings.reports)) - before), None)

    folder = RunFolder(surroundings.reports, wait_for(run_id, "soak run makes its run folder"))
    folder.write_plan(short_plan(folder.run_id, soak_s, prometheus_url))
    return CommandRun(surroundings, folder)


class UiRun(Run):
    """A run that was launched through the UI's web server."""

    def __init__(self, ui: Ui, folder: RunFolder, dagster_run_id: str) -> None:
        super().__init__(ui.surroundings, folder)
        self._ui = ui
        self._dagster_run_id = dagster_run_id

    def run_worker_pid(self) -> int:
        """As the run worker signed itself into the run's tags."""
        tags = {tag["key"]: tag["value"] for tag in self._ui.run(self._dagster_run_id)["tags"]}
        return int(tags[WORKER_TAG].split(" ")[1])

    def terminate_in_the_ui(self) -> None:
        """What the button sends."""
        self._ui.ask("mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=self._dagster_run_id)

    def has_ended(self) -> bool:
        """Whether the UI shows it as ended, or has ended itself."""
        if not self._ui.lives():
            return True
        with contextlib.suppress(httpx.HTTPError):
            return self._ui.run(self._dagster_run_id)["status"] in ENDED
        return False


class Ui:
    """`soak ui`, and its web server as a browser knows it."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self.url = f"http://127.0.0.1:{PORTS['ui']}"
        self._process = surroundings.start("ui", "--port", str(PORTS["ui"]))
        wait_for(self._serves, "soak ui serves")

    def lives(self) -> bool:
        """Whether `soak ui` has not ended."""
        return self._process.poll() is None

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """Asks the web server; raises httpx.HTTPError when it does not answer."""
        answer = httpx.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=ANSWER_LIMIT_S
        ).json()
        if "errors" in answer:
            raise CannotStart(f"the web server answers {answer['errors']}")
        data: dict[str, Any] = answer["data"]
        return data

    def run(self, dagster_run_id: str) -> dict[str, Any]:
        """Status and tags of a run."""
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }"
        found: dict[str, Any] = self.ask(query, id=dagster_run_id)["runOrError"]
        return found

    def start_run(self, soak_s: float, prometheus_url: str | None = None) -> UiRun:
        """Adds a partition and launches the smoke job for it, without the assets that come before the soak."""
        run_id = run_id_of(datetime.now(UTC))
        folder = RunFolder(self.surroundings.reports, run_id)
        folder.write_plan(short_plan(run_id, soak_s, prometheus_url))
        self.ask(
            """mutation($selector: RepositorySelector!, $key: String!) { addDynamicPartition(
                 repositorySelector: $selector, partitionsDefName: "soak_runs", partitionKey: $key) { __typename } }""",
            selector=LOCATION,
            key=run_id,
        )
        launched = self.ask(
            """mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
                 __typename ... on LaunchRunSuccess { run { runId } } } }""",
            parameters={
                "selector": {
                    **LOCATION,
                    "pipelineName": "smoke_soak",
                    "assetSelection": [{"path": [asset]} for asset in SELECTED],
                },
                "mode": "default",
                "runConfigData": {"ops": {"provision": {"config": {"profile": "smoke"}}}},
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": run_id}]},
            },
        )["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise CannotStart(f"the web server answers {launched['__typename']} to the launch of a run")
        return UiRun(self, folder, launched["run"]["runId"])

    def _serves(self) -> bool:
        if not self.lives():
            raise CannotStart(f"soak ui ended with {self._process.returncode}\n{self.surroundings.output()}")
        with contextlib.suppress(httpx.HTTPError, CannotStart):
            query = "query($s: RepositorySelector!) { repositoryOrError(repositorySelector: $s) { __typename } }"
            return bool(self.ask(query, s=LOCATION)["repositoryOrError"]["__typename"] == "Repository")
        return False


def _run_ids(reports: Path) -> Iterator[str]:
    return (path.name for path in (reports / "soak").glob("*Z"))
