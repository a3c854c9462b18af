"""The dashboard and the scrape configuration name only what is served."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.acp import stack
from soak_pipeline import PROJECT_ROOT
from soak_pipeline.load.control import LoadSpec
from soak_pipeline.load.exporter import SessionCollector
from soak_pipeline_tests.load.example_run import example_plan, example_session, provisioned_for
from soak_pipeline_tests.waiting import PATIENCE_S

FOLDER = PROJECT_ROOT / "infra" / "observability"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
SCRAPES = {job["job_name"]: job for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]}
#: Of every process that serves metrics with the client library.
COMMON = {"process_resident_memory_bytes", "process_open_fds"}


def _expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def _named(prefix: str) -> set[str]:
    return {name for expression in _expressions() for name in re.findall(rf"\b{prefix}_[a-z0-9_]+", expression)}


def _served(tmp_path: Path) -> set[str]:
    """Names of the metrics of a session whose load processes have told everything."""
    (tmp_path / "control").mkdir()
    progress = (
        b'{"session": "soak", "phase": "soak", "latency_ms_p95": {"A": 41.0}, "outcomes": {"ok": 3}, "users": 2,'
        b' "seconds_left": 7.5}'
    )
    (tmp_path / "control" / "progress.json").write_bytes(progress)
    plan = example_plan()
    spec = LoadSpec(
        session=example_session(),
        fanout=False,
        plan=plan,
        provisioned=provisioned_for(plan),
        run_dir=str(tmp_path),
        gateway_url="http://127.0.0.1:9",
        workers=1,
    )
    figures = {"load-0": {"rss_bytes": 7e7, "cpu_share": 0.4, "loop_lag_ms_p99": 3.0}}
    return {sample.name for family in SessionCollector(spec, figures).collect() for sample in family.samples}


def test_the_dashboard_shows_every_metric_of_the_load_and_no_other(tmp_path: Path) -> None:
    assert _named("soak") == _served(tmp_path)


def test_every_metric_of_the_load_is_documented(tmp_path: Path) -> None:
    documented = set(re.findall(r"^\| `(soak_[a-z0-9_]+)`", (FOLDER / "README.md").read_text(), re.MULTILINE))
    assert documented == _served(tmp_path)


def test_every_platform_metric_of_the_dashboard_is_one_of_the_platform() -> None:
    source = "\n".join(path.read_text() for path in (PROJECT_ROOT / "infra" / "acp").rglob("*.py"))
    families = {re.sub(r"_(bucket|count)$", "", name) if "latency" in name else name for name in _named("acp")}
    missing = {name for name in families if f'"{name}"' not in source}
    assert families
    assert not missing
    assert _named("process") == COMMON


def test_panels_have_their_own_place_and_number() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_reference_platform_is_scraped_at_its_preferred_ports() -> None:
    gateway = SCRAPES["acp-gateway"]["static_configs"]
    assert gateway == [{"targets": [f"127.0.0.1:{stack.PREFERRED_PORTS['gateway']}"]}]
    workers = {config["labels"]["role"]: config["targets"] for config in SCRAPES["acp-workers"]["static_configs"]}
    expected = {
        role: [f"127.0.0.1:{stack.FIRST_METRICS_PORT + 1 + number}"] for number, role in enumerate(stack.WORKER_ROLES)
    }
    assert workers == expected


def test_prometheus_takes_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; install it (Debian: `prometheus`)")
    done = subprocess.run(
        [promtool, "check", "config", str(FOLDER / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
