"""Runs that start without anybody inventing a partition key: the form of the UI, and the schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from soak_pipeline.defs.request import REQUESTED_RUN_TAG, requested_soak
from soak_pipeline.defs.schedules import nightly_soak_schedule
from soak_pipeline_tests.policies import PROVE_LEVELS


def _request(definitions: dg.Definitions, instance: dg.DagsterInstance, **form: object) -> dg.DagsterRun:
    result = definitions.resolve_job_def("request_soak").execute_in_process(
        instance=instance,
        run_config={"ops": {"accept_request": {"config": form}}} if form else {},
        raise_on_error=False,
    )
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return run


def _launch(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.RunRequest:
    context = dg.build_run_status_sensor_context(
        sensor_name="requested_soak",
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name=run.job_name),
    )
    request = requested_soak(context)
    assert isinstance(request, dg.RunRequest)
    return request


def test_the_form_becomes_a_run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    run = _request(definitions, instance, profile="nightly", users=50, release="v2")
    launched = _launch(instance, run)
    assert instance.get_dynamic_partitions("soak_runs") == [launched.partition_key]
    assert run.tags[REQUESTED_RUN_TAG] == launched.partition_key
    assert launched.job_name == "nightly_soak"
    assert launched.run_key == run.run_id
    assert launched.run_config == {
        "ops": {"provision": {"config": {"profile": "nightly", "users": 50, "release": "v2"}}}
    }


def test_the_empty_form_becomes_a_smoke_run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    assert _launch(instance, _request(definitions, instance)).job_name == "smoke_soak"


def test_a_form_with_a_mistake_starts_nothing(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    run = _request(definitions, instance, profile="nightlee")
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert instance.get_dynamic_partitions("soak_runs") == []


@pytest.mark.parametrize("profile", PROVE_LEVELS)
def test_a_form_cannot_ask_for_the_load_of_a_proof(
    definitions: dg.Definitions, instance: dg.DagsterInstance, profile: str
) -> None:
    run = _request(definitions, instance, profile=profile)
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert instance.get_dynamic_partitions("soak_runs") == []
    (failure,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    cause = failure.dagster_event.step_failure_data.error.cause
    assert f"level {profile!r}: is not in the policy; its levels are smoke, pull_request, nightly" in cause.message


def test_a_level_without_a_job_here_starts_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    policy = tmp_path / "other.yaml"
    policy.write_text("levels: {canary: {like: smoke}}")
    run = _request(definitions, instance, profile="canary", policy_path=str(policy))
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert instance.get_dynamic_partitions("soak_runs") == []
    (failure,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert "set SOAK_POLICY to the policy that has it, and reload" in (
        failure.dagster_event.step_failure_data.error.cause.message
    )


@pytest.mark.parametrize("line", ["production: true", "allow_load: false", "max_users: 10"])
def test_a_form_that_asks_for_more_than_its_target_allows_starts_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "target.yaml"
    allowed = "" if line.startswith("allow_load") else "allow_load: true\n"
    path.write_text(f"name: staging\ngateway_url: https://acp.example\n{allowed}{line}\n")
    run = _request(definitions, instance, target_path=str(path), confirm_production="production")
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert instance.get_dynamic_partitions("soak_runs") == []


def test_a_production_target_is_asked_for_twice(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    path = tmp_path / "target.yaml"
    path.write_text("name: live\ngateway_url: https://acp.example\nallow_load: true\nproduction: true\n")
    run = _request(definitions, instance, target_path=str(path), confirm_production="live")
    assert run.status is dg.DagsterRunStatus.SUCCESS


def test_a_tick_of_the_schedule_is_one_run_however_often_it_is_evaluated(
    stored_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOAK_NIGHTLY_TARGET", "targets/staging.yaml")
    monkeypatch.setenv("SOAK_NIGHTLY_RELEASE", "v3")
    tick = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    requests = [
        nightly_soak_schedule(dg.build_schedule_context(instance=stored_instance, scheduled_execution_time=tick))
        for _ in range(2)
    ]
    assert {request.run_key for request in requests} == {"20261123T020000Z"}
    assert stored_instance.get_dynamic_partitions("soak_runs") == ["20261123T020000Z"]
    assert requests[0].job_name == "nightly_soak"
    assert requests[0].run_config == {
        "ops": {"provision": {"config": {"profile": "nightly", "target_path": "targets/staging.yaml", "release": "v3"}}}
    }
