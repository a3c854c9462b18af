"""Stored runs from the command line: judged again, reported again, cleaned, and put into figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.commands.clean import clean_run
from soak_pipeline.commands.stored_run import judge_stored, report_stored
from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.target import Target
from soak_pipeline.stages.post_run_checks import judge_folder
from soak_pipeline.stages.report import report_folder
from soak_pipeline_tests.evidence_factory import make_run
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of
from soak_pipeline_tests.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("stored") / "reports")


def _soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "soak_pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=PROJECT_ROOT,
        env=os.environ | {"COLUMNS": "120"},
    )


def _files(folder: RunFolder) -> set[Path]:
    return {path for path in folder.path.rglob("*") if path.is_file()}


def test_a_stored_run_is_judged_again_and_nothing_is_written(run: RunFolder) -> None:
    before = _files(run)
    done = _soak("judge", str(run.path))
    assert done.returncode == 0, done.stderr
    assert "gateway_p95_is_under_slo" in done.stdout
    assert _files(run) == before


def test_other_limits_give_another_verdict(run: RunFolder) -> None:
    done = _soak("judge", run.run_id, "--reports", str(run.reports), "--set", "gateway_latency_ms_p95_max=1")
    assert done.returncode == 1, done.stdout
    assert "FAIL" in done.stdout


def test_the_report_is_written_again(run: RunFolder) -> None:
    done = _soak("report", str(run.path))
    assert done.returncode == 0, done.stderr
    assert json.loads((run.path / "verdict.json").read_text())["verdict"] == "PASS"
    assert str(run.path / "report.html") in done.stdout


def test_figures_are_of_the_soak(run: RunFolder) -> None:
    done = _soak("figures", str(run.path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # 100 users, each one request per second: known from the plan alone.
    assert any(line.split() == ["requests/s", "in", "the", "soak", "100.0"] for line in lines), done.stdout
    assert sum(line.lstrip().startswith("tenant ") for line in lines) == 5


def _planned(tmp_path: Path, target: Target) -> Path:
    plan = plan_by(
        run_id="20261123T073000Z", profile=profile_of("smoke"), target=target, thresholds=default_thresholds(), seed=1
    )
    folder = RunFolder(tmp_path, plan.run_id)
    folder.write_plan(plan)
    return folder.path


@pytest.mark.parametrize("production", [True, None])
def test_cleaning_is_refused_unless_the_target_says_it_is_not_production(
    tmp_path: Path, production: bool | None
) -> None:
    path = _planned(tmp_path, Target(name="t", production=production, gateway_url="http://127.0.0.1:9"))
    with pytest.raises(BadInput, match="production: false"):
        clean_run(path, {}, lambda question: pytest.fail("asked although it is refused"))


def test_cleaning_wants_the_operators_word(tmp_path: Path) -> None:
    target = Target(name="t", production=False, gateway_url="http://127.0.0.1:9")
    path = _planned(tmp_path, target)
    questions: list[str] = []

    def decline(question: str) -> bool:
        questions.append(question)
        return False

    environment = {"ACP_ADMIN_EMAIL": "a@b.c", "ACP_ADMIN_PASSWORD": "x"}
    with pytest.raises(BadInput, match="not confirmed; nothing was removed"):
        clean_run(path, environment, decline)
    assert questions == [f"Remove the rows of tenants A, B, C, D, E of run 20261123T073000Z from target {target.name}?"]


def test_a_plan_of_another_format_is_told(tmp_path: Path) -> None:
    path = _planned(tmp_path, Target(name="t"))
    document = json.loads((path / "plan.json").read_text())
    (path / "plan.json").write_bytes(msgspec.json.encode(document | {"seed": "one"}))
    done = _soak("judge", str(path))
    assert done.returncode == 3
    assert "plan.json" in done.stderr
    assert "seed" in done.stderr


def test_a_copied_run_folder_is_judged_and_reported_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "reports")
    copy = tmp_path / "download" / folder.run_id
    shutil.copytree(folder.path, copy)
    assert judge_stored(copy, {}) == 0
    assert report_stored(copy) == 0
    assert str(copy / "comparison.json") in capsys.readouterr().out.splitlines()
    assert [path.name for path in (tmp_path / "download").iterdir()] == [folder.run_id]


def test_every_file_that_a_verdict_cites_is_there(tmp_path: Path) -> None:
    folder = make_run(tmp_path, profile="nightly")
    judgement = judge_folder(folder, {})
    report_folder(folder, judgement)
    cited = {name for result in judgement.criteria for name in result.evidence}
    assert {"latency.json", "comparison.json", "requests", "telemetry"} <= cited
    assert [name for name in sorted(cited) if not (folder.path / name).exists()] == []
