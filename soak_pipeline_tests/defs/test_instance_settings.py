"""The settings of the Dagster instance, in both variants, as Dagster itself reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from soak_pipeline.defs.launch import INSTANCE_SETTINGS, PROJECT_ROOT

POSTGRES_SETTINGS = INSTANCE_SETTINGS.with_name("dagster-postgres.yaml")


@pytest.mark.parametrize("settings", [INSTANCE_SETTINGS, POSTGRES_SETTINGS], ids=lambda path: path.name)
def test_dagster_accepts_them(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://dagster@127.0.0.1:1/dagster")
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
