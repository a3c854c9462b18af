"""`soak ui`: the embedded stack and the Dagster UI, both on the loopback address, both stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from soak_pipeline.commands.embedded_stack import PROJECT_ROOT, embedded_stack
from soak_pipeline.stages.target_lock import dagster_home

STOP_TIMEOUT_S = 30.0


def serve_ui(port: int, reports: Path, environment: Mapping[str, str]) -> int:
    """Serves the UI until it is interrupted; returns its exit code."""
    home = dagster_home(environment)
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        settings.write_text((PROJECT_ROOT / "infra" / "dagster" / "dagster.yaml").read_text())
    with embedded_stack(environment) as stack:
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env={**stack, "DAGSTER_HOME": str(home), "SOAK_REPORTS_DIR": str(reports.absolute())},
            start_new_session=True,
        )
        print(f"Dagster UI: http://127.0.0.1:{port}   (Ctrl-C stops it and the stack)", flush=True)
        try:
            return process.wait()
        except KeyboardInterrupt:
            return _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Lets Dagster stop its processes; those that do not are killed with their group."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
