"""`soak run` as its operator knows it: refused while another runs, stopped by Ctrl-C, killed, and tidy afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests.hostile.secrets import Search
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for, wait_until_gone

pytestmark = pytest.mark.integration


@dataclass
class Operator:
    """Starts `soak run` in a state directory of its own, and ends what is left at the end of the test."""

    directory: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def reports(self) -> Path:
        return self.directory / "reports"

    def soak(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ACP_", "SOAK_"))}
        environment |= {
            "SOAK_STATE_DIR": str(self.directory / "state"),
            "ACP_STATE_DIR": str(self.directory / "platform"),
            "ACP_GATEWAY_PORT": "29000",
            "ACP_POSTGRES_PORT": "29433",
            "ACP_REDIS_PORT": "29380",
            "ACP_METRICS_FIRST_PORT": "29100",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "soak_pipeline.cli", "run", "--reports", str(self.reports), *arguments],
            env=environment,
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run_folder(self, number: int) -> Path:
        """The folder of the run number `number` from 0, once it sends load."""

        def sending() -> Path | None:
            folders = sorted(self.reports.glob("soak/*Z"))
            if len(folders) <= number:
                return None
            progress = _json(folders[number] / "control" / "progress.json")
            return folders[number] if progress.get("phase") in ("baseline", "burst") else None

        return wait_for(sending, "load is sent")


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path)
    try:
        yield operator
    finally:
        for process in operator.started:
            process.send_signal(signal.SIGINT)
        for process in operator.started:
            try:
                process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        subprocess.run(
            [sys.executable, "-m", "infra.acp", "down"],
            env=os.environ | {"ACP_STATE_DIR": str(tmp_path / "platform")},
            cwd=PROJECT_ROOT,
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )


def test_a_killed_run_leaves_no_load_and_the_next_one_starts_cleanly(operator: Operator) -> None:
    killed = operator.soak()
    first = operator.run_folder(0)
    family = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.communicate()
    harness = [process for process in family if "soak_pipeline" in _command_line(process)]
    assert harness, "the pipeline runs in processes of its own"
    wait_until_gone(*harness)
    assert not (first / "verdict.json").exists()

    second = operator.soak()
    operator.run_folder(1)
    search = Search(_json(operator.directory / "platform" / "secrets.json"))
    platform = _json(operator.directory / "platform" / "stack.json")["processes"]
    with search.processes(operator.directory, [process["pid"] for process in platform]):
        refused = operator.soak()
        output, _ = refused.communicate(timeout=PATIENCE_S)
        assert refused.returncode == 254, output
        assert "held by another soak" in output

        everything = [*harness, *psutil.Process(second.pid).children(recursive=True)]
        second.send_signal(signal.SIGINT)
        output, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 2, output
    assert "cancelled by the operator" in output
    wait_until_gone(*everything)
    assert _stack_phase(operator) == "down"

    search.data("what the command printed", output.encode())
    search.folder(operator.reports)
    # With Dagster's database of runs and events.
    search.folder(operator.directory / "state")
    assert list((operator.directory / "state").rglob("*.db")), "Dagster keeps its events where they were looked for"
    assert search.found == set()


def _stack_phase(operator: Operator) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "infra.acp", "status", "--json"],
        env=os.environ | {"ACP_STATE_DIR": str(operator.directory / "platform")},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return str(json.loads(answer.stdout)["phase"])


def _json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
