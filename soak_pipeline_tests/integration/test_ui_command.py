"""`soak ui` as its operator knows it: platform and Dagster come up together, and Ctrl-C takes both down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for, wait_until_gone

pytestmark = pytest.mark.integration


def test_it_serves_the_pipeline_and_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ACP_", "SOAK_", "DAG"))}
    environment |= {
        "SOAK_STATE_DIR": str(tmp_path / "state"),
        "ACP_STATE_DIR": str(tmp_path / "platform"),
        "ACP_GATEWAY_PORT": "22000",
        "ACP_POSTGRES_PORT": "22433",
        "ACP_REDIS_PORT": "22380",
        "ACP_METRICS_FIRST_PORT": "22100",
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "soak_pipeline.cli", "ui", "--port", str(port), "--reports", str(tmp_path)]
        process = subprocess.Popen(
            command, env=environment, cwd=PROJECT_ROOT, stdout=output, stderr=output, start_new_session=True
        )

    def assets() -> list[str]:
        assert process.poll() is None, log.read_text()
        query = "{ assetNodes { assetKey { path } } }"
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=PATIENCE_S).json()
            return [node["assetKey"]["path"][-1] for node in answer["data"]["assetNodes"]]
        return []

    try:
        wait_for(lambda: "report" in assets(), "the pipeline is served")
        assert f"Dagster UI: http://127.0.0.1:{port}" in log.read_text()
        stack = json.loads((tmp_path / "platform" / "stack.json").read_text())
        gateway, platform = stack["ports"]["gateway"], stack["processes"]
        assert httpx.get(f"http://127.0.0.1:{gateway}/health", timeout=PATIENCE_S).is_success
        family = [
            *psutil.Process(process.pid).children(recursive=True),
            *(psutil.Process(each["pid"]) for each in platform),
        ]
        assert len(family) > len(platform) > 0
    finally:
        # As a terminal does: everybody in the foreground hears it.
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(PATIENCE_S)
    assert code == 0, log.read_text()
    assert "superseded" not in log.read_text(), "a warning that no operator can act on"
    assert log.read_text().splitlines()[-1].startswith("soak ui: Dagster and the stack have ended")
    wait_until_gone(*family)
