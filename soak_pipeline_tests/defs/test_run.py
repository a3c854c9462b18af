"""Whole runs, by a real Dagster, over fake stages: what is stored, what fails a run, what can be done again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import dagster as dg
import pytest

from soak_pipeline.criteria.registry import CRITERIA
from soak_pipeline.defs.assets.post_run_checks import check_result
from soak_pipeline.evidence.bundle import STAGE_OUTPUTS, read_evidence
from soak_pipeline.evidence.run_folder import RunFolder, run_folders
from soak_pipeline.model.stage_outputs import FinalVerdict
from soak_pipeline.model.verdict import CriterionResult, Judgement, Verdict
from soak_pipeline_tests.defs.conftest import RUN_ID, RunJob

STAGES = [*STAGE_OUTPUTS, "post_run_checks", "report"]


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def _materialization(instance: dg.DagsterInstance, asset: str) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_a_run_that_passes_succeeds_and_leaves_every_output(run_job: RunJob, folder: RunFolder) -> None:
    result = run_job()
    assert result.success
    assert read_evidence(folder).missing == {}
    assert folder.read_output("post_run_checks", Judgement).verdict is Verdict.PASS
    assert folder.read_output("report", FinalVerdict).run_id == RUN_ID
    check = _checks(result)["promotion_is_allowed"]
    assert check.passed
    assert str(check.description).startswith("PASS; smoke gates no promotion. ")
    assert check.metadata["gates_promotion"].value is False
    assert check.metadata["promotion"].value == "PASS; smoke gates no promotion"


def test_the_level_decides_the_profile_and_gates(run_job: RunJob, folder: RunFolder) -> None:
    check = _checks(run_job("nightly_soak"))["promotion_is_allowed"]
    assert folder.read_plan().profile.name == "nightly"
    assert str(check.description).startswith("PASS: the promotion is allowed. ")
    assert check.metadata["gates_promotion"].value is True


def test_the_form_reaches_the_plan(run_job: RunJob, folder: RunFolder) -> None:
    form = {"profile": "pull_request", "users": 20, "run_time": "90s", "release": "v1.2", "seed": 11}
    run_job("pull_request_soak", run_config={"ops": {"provision": {"config": form}}})
    plan = folder.read_plan()
    assert (plan.profile.users, plan.profile.soak_s, plan.release, plan.seed) == (20, 90.0, "v1.2", 11)


def test_an_unknown_field_of_the_form_is_refused(run_job: RunJob, reports: Path) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="user"):
        run_job(run_config={"ops": {"provision": {"config": {"user": 20}}}})
    assert not reports.exists()


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_whatever_is_not_a_pass_fails_the_run_but_everything_is_recorded(
    run_job: RunJob, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    monkeypatch.setenv("FAKE_VERDICT", verdict)
    result = run_job()
    assert not result.success
    assert [event.step_key for event in result.all_events if event.is_step_failure] == ["report"]
    checks = _checks(result)
    first, *others = CRITERIA
    assert not checks[first.name].passed
    assert checks[first.name].severity is dg.AssetCheckSeverity.ERROR
    assert checks[first.name].metadata["verdict"].value == verdict
    assert [checks[c.name].passed for c in others if c.name != "nothing_leaks"] == [True] * (len(others) - 1)
    assert not checks["promotion_is_allowed"].passed
    assert folder.read_output("report", FinalVerdict).verdict is Verdict(verdict)
    assert (folder.path / "verdict.json").is_file()


def test_what_was_not_asked_raises_no_alarm_and_says_so_first(run_job: RunJob) -> None:
    leaks = _checks(run_job())["nothing_leaks"]
    assert leaks.passed
    assert leaks.severity is dg.AssetCheckSeverity.WARN
    assert leaks.description == "not asked: tenant E nothing_leaks"
    assert leaks.metadata["verdict"].value == "not asked"


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_what_was_asked_can_fail_a_check(verdict: Verdict, asked: bool) -> None:
    check = check_result(CriterionResult(name="nothing_leaks", verdict=verdict, why="because", asked=asked))
    assert check.passed is (verdict is Verdict.PASS or not asked)
    assert str(check.description) == ("because" if asked else "not asked: because")


def test_a_criterion_without_a_result_is_inconclusive(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch, folder: RunFolder
) -> None:
    from soak_pipeline.stages import post_run_checks

    judge = post_run_checks.judge

    def without_the_first(context, thresholds_changed):
        whole = judge(context, thresholds_changed)
        return Judgement(
            run_id=whole.run_id, verdict=whole.verdict, criteria=whole.criteria[1:], judged_at=whole.judged_at
        )

    monkeypatch.setattr(post_run_checks, "judge", without_the_first)
    evaluation = _checks(run_job())[CRITERIA[0].name]
    assert not evaluation.passed
    assert evaluation.metadata["verdict"].value == "INCONCLUSIVE"


@pytest.mark.parametrize("stage", ["provision", "fairness", "agent_fanout", "soak", "teardown"])
def test_a_load_stage_that_breaks_leaves_no_tenant_open(
    run_job: RunJob, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setenv("FAKE_ERROR_IN", stage)
    result = run_job()
    assert not result.success
    assert "promotion_is_allowed" not in _checks(result)
    assert (folder.control_dir / "emergency.json").is_file() is (stage != "provision")


@pytest.mark.parametrize("stage", ["platform_evidence", "post_run_checks", "report"])
def test_a_stage_after_teardown_that_breaks_does_not_touch_the_platform(
    run_job: RunJob, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setenv("FAKE_ERROR_IN", stage)
    assert not run_job().success
    assert not (folder.control_dir / "emergency.json").exists()


def test_a_run_can_be_judged_again_without_load_or_platform(
    run_job: RunJob, folder: RunFolder, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VERDICT", "FAIL")
    run_job()
    first_sha256 = _materialization(instance, "post_run_checks").tags["dagster/data_version"]
    monkeypatch.setenv("FAKE_VERDICT", "PASS")
    monkeypatch.setenv("FAKE_ERROR_IN", "provision")
    result = run_job("rejudge")
    assert result.success
    assert {event.step_key for event in result.all_events if event.is_step_success} == {"post_run_checks", "report"}
    assert folder.output_versions("post_run_checks") == [1, 2]
    assert folder.read_output("post_run_checks", Judgement, version=1).verdict is Verdict.FAIL
    assert folder.read_output("post_run_checks", Judgement).verdict is Verdict.PASS
    assert folder.output_versions("soak") == [1]
    assert _materialization(instance, "post_run_checks").tags["dagster/data_version"] != first_sha256


def test_the_platform_can_be_read_again_alone(run_job: RunJob, folder: RunFolder) -> None:
    run_job()
    result = run_job("smoke_soak", asset_selection=[dg.AssetKey("platform_evidence")])
    assert result.success
    assert {name: folder.output_versions(name)[-1] for name in STAGES if len(folder.output_versions(name)) > 1} == {
        "platform_evidence": 2
    }


def test_a_stage_whose_input_is_missing_says_which(run_job: RunJob) -> None:
    result = run_job("smoke_soak", asset_selection=[dg.AssetKey("teardown")])
    failure = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert "stage provision has no output; materialise it first" in failure.error.to_string()


def test_the_data_version_is_the_hash_of_the_file(
    run_job: RunJob, folder: RunFolder, instance: dg.DagsterInstance
) -> None:
    run_job()
    for stage in STAGES:
        materialization = _materialization(instance, stage)
        sha256 = hashlib.sha256(folder.output_path(stage).read_bytes()).hexdigest()
        assert materialization.tags["dagster/data_version"] == sha256
        assert materialization.metadata["sha256"].value == sha256
        assert Path(str(materialization.metadata["file"].value)) == folder.output_path(stage)
        assert materialization.partition == RUN_ID


def test_two_runs_keep_apart(run_job: RunJob, reports: Path) -> None:
    run_job()
    run_job(run_id="20261123T080000Z")
    assert [folder.run_id for folder in run_folders(reports)] == [RUN_ID, "20261123T080000Z"]


def test_a_partition_key_that_is_no_run_id_writes_nothing(run_job: RunJob, reports: Path) -> None:
    assert not run_job(run_id="../../elsewhere").success
    assert not reports.exists()


def test_no_secret_of_the_environment_reaches_the_event_log(
    run_job: RunJob, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACP_ADMIN_PASSWORD", "correct-horse-battery")
    result = run_job()
    run = instance.get_run_by_id(result.run_id)
    logged = " ".join(entry.to_json() for entry in instance.all_logs(result.run_id))
    assert "provision runs" in logged
    assert "correct-horse-battery" not in logged + str(run)
