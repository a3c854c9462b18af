"""A real Prometheus that scrapes one page. The program of Debian's package need not be installed, only unpacked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PROMETHEUS = shutil.which("prometheus")
WITHOUT = "prometheus is not installed; install it (Debian: `prometheus`)"
"""Why a test that needs it is skipped."""


def start_prometheus(
    scraped: str, directory: Path, port: int, scrape_interval_ms: int = 250
) -> subprocess.Popen[bytes]:
    """Starts one with its data, log and settings in a directory; it serves within a few seconds.

    Args:
        scraped: host and port of the page `/metrics`, the only one.
        directory: of an earlier one to go on with its data, or an empty one.
        port: of 127.0.0.1.
        scrape_interval_ms: between two scrapes, and the longest time of one (milliseconds).
    """
    config = directory / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {scrape_interval_ms}ms, scrape_timeout: {scrape_interval_ms}ms}}\n"
        "scrape_configs:\n"
        f"  - {{job_name: gateway, static_configs: [{{targets: ['{scraped}']}}]}}\n"
    )
    command = [
        str(PROMETHEUS),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (directory / "prometheus.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)
