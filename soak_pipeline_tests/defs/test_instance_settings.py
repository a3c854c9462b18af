"""The settings of the Dagster instance, in both variants, as Dagster itself reads them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.defs.partitions import ensure_soak_run
from soak_pipeline.stages.dagster_home import INSTANCE_SETTINGS
from soak_pipeline_tests.defs.conftest import RUN_ID
from soak_pipeline_tests.infra.servers import running_servers

POSTGRES_SETTINGS = INSTANCE_SETTINGS.with_name("dagster-postgres.yaml")


@pytest.mark.parametrize("settings", [INSTANCE_SETTINGS, POSTGRES_SETTINGS], ids=lambda path: path.name)
def test_dagster_accepts_them(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://dagster@127.0.0.1:1/dagster")
    shutil.copyfile(settings, tmp_path / "dagster.yaml")
    values, _ = dagster_instance_config(str(tmp_path))
    assert values["telemetry"] == {"enabled": False}
    assert ("postgres" in values.get("storage", {})) is (settings is POSTGRES_SETTINGS)


def test_the_variants_differ_in_their_storage_only() -> None:
    sqlite, postgres = (yaml.safe_load(path.read_text()) for path in (INSTANCE_SETTINGS, POSTGRES_SETTINGS))
    assert postgres.pop("storage") == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert postgres == sqlite


def test_plain_dagster_dev_finds_the_same_settings() -> None:
    assert (PROJECT_ROOT / "dagster.yaml").resolve() == INSTANCE_SETTINGS


def test_one_soak_at_a_time(stored_instance: dg.DagsterInstance) -> None:
    pools = stored_instance.event_log_storage.get_pool_config()
    assert (pools.pool_granularity.value, pools.default_pool_limit) == ("run", 1)


def test_the_monitor_is_on_and_never_resumes_a_run(stored_instance: dg.DagsterInstance) -> None:
    assert stored_instance.run_monitoring_enabled
    assert stored_instance.run_monitoring_max_resume_run_attempts == 0
    assert stored_instance.run_monitoring_max_runtime_seconds > 24 * 3600
    assert not stored_instance.run_retries_enabled


@pytest.fixture
def postgres_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    with running_servers() as servers:
        with psycopg.connect(servers.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE dagster")
        url = servers.dsn("dagster").replace("postgresql://", "postgresql+psycopg2://")
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
        home = tmp_path / "home"
        home.mkdir()
        shutil.copyfile(POSTGRES_SETTINGS, home / "dagster.yaml")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance


@pytest.mark.integration
def test_a_run_is_recorded_in_postgres(postgres_instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    ensure_soak_run(postgres_instance, RUN_ID)
    result = definitions.resolve_job_def("smoke_soak").execute_in_process(
        instance=postgres_instance, partition_key=RUN_ID, raise_on_error=False
    )
    assert result.success
    assert [run.status for run in postgres_instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
    assert postgres_instance.get_latest_materialization_event(dg.AssetKey("report")) is not None
