"""The pipeline over fake stages, a Dagster instance and a reports folder of its own, per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.definitions import defs
from soak_pipeline.defs.partitions import ensure_soak_run
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline_tests.defs import fake_stages

RUN_ID = "20261123T073000Z"

RunJob = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in fake_stages.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SOAK_REPORTS_DIR", str(tmp_path / "reports"))
    fake_stages.install(monkeypatch.setattr)
    return tmp_path / "reports"


@pytest.fixture
def folder(reports: Path) -> RunFolder:
    return RunFolder(reports, RUN_ID)


@pytest.fixture
def definitions(reports: Path) -> dg.Definitions:
    return defs()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """In memory; the launcher and the daemon are tested with one on disk."""
    settings = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.ephemeral(settings=settings) as instance:
        yield instance


@pytest.fixture
def stored_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """On disk, with the project's own settings."""
    home = tmp_path / "dagster"
    home.mkdir()
    settings = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.local_temp(str(home), overrides=settings) as instance:
        yield instance


@pytest.fixture
def run_job(definitions: dg.Definitions, instance: dg.DagsterInstance) -> RunJob:
    """Runs a job of the pipeline in this process; a failed run is returned, not raised."""

    def run(job: str = "smoke_soak", run_id: str = RUN_ID, **arguments: object) -> dg.ExecuteInProcessResult:
        ensure_soak_run(instance, run_id)
        return definitions.resolve_job_def(job).execute_in_process(
            instance=instance, partition_key=run_id, raise_on_error=False, **arguments
        )

    return run
