"""The asset graph, its checks, jobs and automation, as a person sees them in the UI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.criteria.names import MODULES
from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.definitions import defs
from soak_pipeline.defs.assets import settings
from soak_pipeline.defs.assets.post_run_checks import JUDGED_BY
from soak_pipeline.defs.assets.report import REPORTED_BY
from soak_pipeline.defs.assets.settings import code_version_of
from soak_pipeline.dialect.registry import dialect_modules
from soak_pipeline_tests.policies import LEVELS

PARENTS = {
    "provision": set(),
    "baseline": {"provision"},
    "burst": {"provision"},
    "agent_fanout": {"provision", "baseline", "burst"},
    "soak": {"provision", "agent_fanout"},
    "teardown": {"provision", "soak"},
    "platform_evidence": {"provision", "teardown"},
    "post_run_checks": {"provision", "baseline", "burst", "agent_fanout", "soak", "teardown", "platform_evidence"},
    "report": {"post_run_checks"},
}
SENDS_LOAD = {"baseline", "burst", "agent_fanout", "soak"}
NEEDS_RUN_FOLDER = {"post_run_checks", "report"}


@pytest.fixture(scope="module")
def graph():
    return defs().resolve_asset_graph()


def _name(key: dg.AssetKey) -> str:
    return key.to_user_string()


def test_the_assets_and_their_order(graph) -> None:
    parents = {
        _name(key): {_name(parent) for parent in graph.get(key).parent_keys} for key in graph.get_all_asset_keys()
    }
    assert parents == PARENTS


def test_baseline_and_burst_are_one_operation(graph) -> None:
    keys = graph.get(dg.AssetKey("baseline")).execution_set_asset_keys
    assert {_name(key) for key in keys} == {"baseline", "burst"}


@pytest.mark.parametrize("name", PARENTS)
def test_an_operator_finds_out_what_an_asset_is(graph, name: str) -> None:
    node = graph.get(dg.AssetKey(name))
    assert node.description
    assert node.group_name == "soak_run"
    assert node.owners == ["team:soak"]
    assert node.kinds
    assert node.code_version
    assert node.backfill_policy is None, "with a policy, a backfill's runs lack the tag that names their partition"
    assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    assert node.partitions_def.name == "soak_runs"
    assert node.tags["sends_load"] == ("yes" if name in SENDS_LOAD else "no")
    assert node.tags["needs"] == ("run_folder" if name in NEEDS_RUN_FOLDER else "platform")


def test_whatever_may_leave_tenants_open_shares_one_pool(graph) -> None:
    pooled = {_name(key) for key in graph.get_all_asset_keys() if "soak_target" in graph.get(key).pools}
    assert pooled == SENDS_LOAD | {"provision", "teardown"}


def test_there_is_one_check_per_criterion_and_one_that_blocks(graph) -> None:
    checks = {(_name(key.asset_key), key.name) for key in graph.asset_check_keys}
    assert checks == {("post_run_checks", criterion.name) for criterion in CRITERIA} | {
        ("report", "promotion_is_allowed")
    }
    blocking = {key.name for key in graph.asset_check_keys if graph.get(key).blocking}
    assert blocking == {"promotion_is_allowed"}
    assert all(graph.get(key).description for key in graph.asset_check_keys)


def test_there_is_one_job_per_level_over_the_same_assets() -> None:
    definitions = defs()
    for profile in LEVELS:
        job = definitions.resolve_job_def(f"{profile}_soak")
        assert {_name(key) for key in job.asset_layer.executable_asset_keys} == set(PARENTS)
        assert job.run_tags["dagster/max_retries"] == "0"
        assert job.executor_def is dg.in_process_executor


def test_a_policy_of_ones_own_makes_the_jobs_and_the_schedule(tmp_path: Path) -> None:
    """A fresh process, since the levels are read once, when the code location loads."""
    policy = tmp_path / "soak.yaml"
    policy.write_text(
        "levels: {canary: {like: pull_request, description: Before a canary., gates: true}, nightly: null,"
        " pre_release: null}"
    )
    code = (
        "from soak_pipeline.definitions import defs; d = defs();"
        "print(sorted(job.name for job in d.resolve_all_job_defs() if job.name.endswith('_soak')));"
        "print([(s.name, s.job_name) for s in d.schedules or []]);"
        "print(d.resolve_job_def('canary_soak').description)"
    )

    def loaded(**variables: str) -> list[str]:
        environment = {**os.environ, "SOAK_POLICY": str(policy), **variables}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=PROJECT_ROOT
        )
        return done.stdout.splitlines()

    jobs, schedules, description = loaded()
    assert jobs == "['canary_soak', 'pull_request_soak', 'request_soak', 'smoke_soak']"
    assert schedules == "[]"
    assert description.endswith("Before a canary.")
    assert loaded(SOAK_NIGHTLY_LEVEL="canary")[1] == "[('nightly_soak_schedule', 'canary_soak')]"


def test_judging_again_sends_no_load() -> None:
    job = defs().resolve_job_def("rejudge")
    assert {_name(key) for key in job.asset_layer.executable_asset_keys} == {"post_run_checks", "report"}


def test_no_stage_is_tried_again_by_itself() -> None:
    for node in defs().resolve_job_def("smoke_soak").all_node_defs:
        assert node.retry_policy is None, node.name


def test_only_what_judges_has_a_code_version_that_changes_by_itself(graph, tmp_path: Path) -> None:
    """A stage that measures would otherwise ask to send the load of every old run again."""
    versions = {name: graph.get(dg.AssetKey(name)).code_version for name in PARENTS}
    assert {name for name, version in versions.items() if version != "1"} == NEEDS_RUN_FOLDER
    assert versions["post_run_checks"] == JUDGED_BY


@pytest.fixture(scope="module")
def copied_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, to change."""
    package = tmp_path_factory.mktemp("sources") / "soak_pipeline"
    shutil.copytree(PROJECT_ROOT / "soak_pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def versions_with(package: Path, changed: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The code version of each asset that judges, with one more byte in a source."""
    monkeypatch.setattr(settings, "_PACKAGE", package)
    source = package / changed
    original = source.read_bytes()
    source.write_bytes(original + b"\n")
    try:
        return {
            "post_run_checks": code_version_of(
                "soak_pipeline.stages.post_run_checks", *MODULES.values(), *dialect_modules()
            ),
            "report": code_version_of("soak_pipeline.stages.report"),
        }
    finally:
        source.write_bytes(original)


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("model/thresholds.py", {"post_run_checks", "report"}),
        ("model/series.py", {"post_run_checks", "report"}),
        ("model/plan.py", {"post_run_checks", "report"}),
        ("evidence/requests.py", {"post_run_checks", "report"}),
        ("evidence/telemetry.py", {"post_run_checks", "report"}),
        ("analysis/trends.py", {"post_run_checks"}),
        ("criteria/leaks/nothing_leaks.py", {"post_run_checks"}),
        ("dialect/platforms/deployed.py", {"post_run_checks"}),
        ("report/page/report.html.j2", {"report"}),
        ("report/page/report.css", {"report"}),
        ("config/default_policy.yaml", set()),
        ("target/gateway.py", set()),
        ("stages/teardown.py", set()),
    ],
)
def test_what_an_answer_rests_on_makes_it_stale_and_nothing_else(
    copied_package: Path, changed: str, stale: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"post_run_checks": JUDGED_BY, "report": REPORTED_BY}
    changed_versions = versions_with(copied_package, changed, monkeypatch)
    assert {name for name, version in changed_versions.items() if version != now[name]} == stale


def test_the_automation_is_off_and_the_sensors_that_tidy_up_are_on() -> None:
    definitions = defs()
    sensor = definitions.resolve_sensor_def("release_candidate_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert definitions.resolve_schedule_def("nightly_soak_schedule").default_status is dg.DefaultScheduleStatus.STOPPED
    for name in ("teardown_after_failure", "teardown_after_cancel", "abandoned_soak", "requested_soak"):
        assert definitions.resolve_sensor_def(name).default_status is dg.DefaultSensorStatus.RUNNING
