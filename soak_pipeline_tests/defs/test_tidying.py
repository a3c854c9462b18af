"""What happens after runs that did not end by themselves: sensors, the operator's lever, and abandoned runs."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import psutil
import pytest

from soak_pipeline.defs.abandoned_runs import WORKER_TAG, fail_abandoned_runs, is_gone, this_worker
from soak_pipeline.defs.resources import Harness
from soak_pipeline.defs.sensors import abandoned_soak, teardown_after_cancel, teardown_after_failure
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.stages import emergency
from soak_pipeline_tests.defs.conftest import RUN_ID, RunJob

Status = dg.DagsterRunStatus


@pytest.fixture
def harness(folder: RunFolder) -> Harness:
    return Harness(reports_dir=str(folder.reports))


def _tick(sensor: dg.RunStatusSensorDefinition, instance: dg.DagsterInstance, run_id: str, harness: Harness) -> object:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    event = dg.DagsterEvent(event_type_value="PIPELINE_FAILURE", job_name=run.job_name)
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=event,
        partition_key=run.tags.get("dagster/partition"),
    )
    return sensor(context, harness=harness)


def _broken_without_own_teardown(run_job: RunJob, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that failed in `soak` and, as after a kill, left nothing that its own process could still do."""
    monkeypatch.setenv("FAKE_ERROR_IN", "soak")
    result = run_job()
    (folder.control_dir / "emergency.json").unlink()
    monkeypatch.delenv("FAKE_ERROR_IN")
    return result.run_id


@pytest.mark.parametrize("sensor", [teardown_after_failure, teardown_after_cancel])
def test_the_tenants_of_a_broken_run_are_blocked(
    sensor: dg.RunStatusSensorDefinition,
    run_job: RunJob,
    folder: RunFolder,
    harness: Harness,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = _broken_without_own_teardown(run_job, folder, monkeypatch)
    for _ in range(2):
        answer = _tick(sensor, instance, run_id, harness)
        assert isinstance(answer, dg.SkipReason)
        assert "tenants are blocked" in str(answer.skip_message)
    assert (folder.control_dir / "emergency.json").is_file()


def test_a_job_tries_again_what_the_sensor_could_not(
    run_job: RunJob,
    folder: RunFolder,
    harness: Harness,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = _broken_without_own_teardown(run_job, folder, monkeypatch)
    monkeypatch.setenv("FAKE_ERROR_IN", "emergency")
    answer = _tick(teardown_after_failure, instance, run_id, harness)
    assert isinstance(answer, dg.RunRequest)
    assert (answer.job_name, answer.partition_key, answer.run_key) == ("emergency_stop", RUN_ID, run_id)


def test_a_run_that_only_failed_its_verdict_is_left_alone(
    run_job: RunJob,
    folder: RunFolder,
    harness: Harness,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_VERDICT", "FAIL")
    answer = _tick(teardown_after_failure, instance, run_job().run_id, harness)
    assert isinstance(answer, dg.SkipReason)
    assert not (folder.control_dir / "emergency.json").exists()


def test_judging_again_in_vain_touches_no_platform(
    run_job: RunJob,
    folder: RunFolder,
    harness: Harness,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_job()
    monkeypatch.setenv("FAKE_ERROR_IN", "post_run_checks")
    answer = _tick(teardown_after_failure, instance, run_job("rejudge").run_id, harness)
    assert isinstance(answer, dg.SkipReason)
    assert not (folder.control_dir / "emergency.json").exists()


def test_the_operators_lever(run_job: RunJob, folder: RunFolder) -> None:
    run_job()
    assert run_job("emergency_stop").success
    assert (folder.control_dir / "emergency.json").is_file()


def test_the_lever_says_which_tenant_is_still_open(
    run_job: RunJob, folder: RunFolder, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job()
    from soak_pipeline.model.stage_outputs import SilencedTenant, TeardownReceipt

    def one_open(folder: RunFolder, environment: object) -> TeardownReceipt:
        tenants = [
            SilencedTenant(
                name=name, blocked=name != "E", probe_calls=0, probe_allowed=0, probe_statuses={}, reason="HTTP 500"
            )
            for name in "DE"
        ]
        return TeardownReceipt(tenants=tuple(tenants), lever="rpm_limit", load_stopped_us=0, blocked_us=None)

    monkeypatch.setattr(emergency, "emergency_teardown", one_open)
    assert (
        emergency.stop_run(folder, harness.environment) == f"tenants of soak run {RUN_ID} are not blocked: E (HTTP 500)"
    )


def test_a_run_that_never_began_has_nothing_to_stop(folder: RunFolder, harness: Harness) -> None:
    assert emergency.stop_run(folder, harness.environment) == ""


@pytest.fixture
def dead_worker() -> str:
    """The signature of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    process.communicate()
    host, _, _ = this_worker().rsplit(" ", 2)
    return f"{host} {process.pid} {started:.2f}"


def test_a_process_is_told_from_one_that_ended_or_got_its_number_later(dead_worker: str) -> None:
    host, pid, started = this_worker().rsplit(" ", 2)
    assert not is_gone(this_worker())
    assert is_gone(dead_worker)
    assert is_gone(f"{host} {pid} {float(started) - 1:.2f}")
    assert not is_gone(f"another-{host} {pid} 0.00")


def _run_in_progress(instance: dg.DagsterInstance, definitions: dg.Definitions, worker: str) -> dg.DagsterRun:
    return instance.create_run_for_job(
        definitions.resolve_job_def("smoke_soak"),
        status=Status.STARTED,
        tags={WORKER_TAG: worker, "dagster/partition": RUN_ID},
        run_config={},
    )


def test_an_abandoned_run_is_stopped_and_marked_as_failed(
    run_job: RunJob,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    folder: RunFolder,
    harness: Harness,
    dead_worker: str,
) -> None:
    run_job()
    run = _run_in_progress(instance, definitions, dead_worker)
    lines: list[str] = []
    assert fail_abandoned_runs(instance, harness, lines.append) == [RUN_ID]
    assert instance.get_run_by_id(run.run_id).status is Status.FAILURE
    assert (folder.control_dir / "emergency.json").is_file()
    assert lines == [f"the process of soak run {RUN_ID} ({dead_worker}) ended without a word"]
    assert fail_abandoned_runs(instance, harness, lines.append) == []


def test_a_platform_that_is_gone_does_not_keep_an_abandoned_run_alive(
    run_job: RunJob,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    dead_worker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_job()
    run = _run_in_progress(instance, definitions, dead_worker)
    monkeypatch.setenv("FAKE_ERROR_IN", "emergency")
    lines: list[str] = []
    fail_abandoned_runs(instance, harness, lines.append)
    assert instance.get_run_by_id(run.run_id).status is Status.FAILURE
    assert "may not be blocked: the gateway does not answer" in lines[0]


def test_a_run_whose_process_lives_is_left_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, harness: Harness
) -> None:
    run = _run_in_progress(instance, definitions, this_worker())
    context = dg.build_sensor_context(instance=instance, resources={"harness": harness})
    data = abandoned_soak.evaluate_tick(context)
    assert data.skip_message == "every run in progress has its process"
    assert instance.get_run_by_id(run.run_id).status is Status.STARTED
