"""How long a run has its guardian: until its tenants are blocked; a part of a run, for the time of its steps."""

from __future__ import annotations

import dagster as dg
import pytest

from soak_pipeline.defs import guarding
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline_tests.defs.conftest import RunJob


def _dismissed(folder: RunFolder) -> bool:
    return (folder.control_dir / "guardian_dismissed.json").is_file()


@pytest.fixture(autouse=True)
def no_guardian_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "_guardians", {})


def test_a_whole_run_is_guarded_until_its_tenants_are_blocked(run_job: RunJob, folder: RunFolder) -> None:
    assert run_job().success
    assert _dismissed(folder)


def test_a_stage_that_broke_and_blocked_needs_no_guardian(
    run_job: RunJob, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ERROR_IN", "soak")
    assert not run_job().success
    assert _dismissed(folder)


def test_a_run_that_could_not_block_keeps_its_guardian(
    run_job: RunJob, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soak_pipeline.stages import emergency, soak

    def breaks(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(soak, "soak", breaks)
    monkeypatch.setattr(emergency, "emergency_teardown", breaks)
    result = run_job()
    assert not _dismissed(folder)
    assert set(guarding._guardians) == {result.run_id}


def test_between_the_steps_it_stays_and_after_a_part_of_a_run_it_goes(run_job: RunJob, folder: RunFolder) -> None:
    seen: dict[str, bool] = {}
    original = guarding.step_ended

    def note(context: dg.AssetExecutionContext) -> None:
        original(context)
        seen[context.op_execution_context.op_def.name] = _dismissed(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guarding, "step_ended", note)
        run_job()
    assert seen == {
        "provision": False,
        "fairness_windows": False,
        "agent_fanout": False,
        "soak": False,
        "teardown": True,
    }
    (folder.control_dir / "guardian_dismissed.json").unlink()
    run_job(asset_selection=[dg.AssetKey("soak")])
    assert _dismissed(folder)


def test_a_run_whose_starter_guards_it_has_no_guardian_of_its_own(
    run_job: RunJob, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "_left_to_starter", False)
    guarding.leave_to_starter()
    assert run_job().success
    assert not _dismissed(folder)
