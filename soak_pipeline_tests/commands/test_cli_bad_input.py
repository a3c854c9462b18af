"""Bad input gives one clear message and exit 254, before anything is started or sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests.waiting import PATIENCE_S

NO_LOAD = """
name: elsewhere
gateway_url: http://127.0.0.1:9
"""
UNREACHABLE = """
name: unreachable
allow_load: true
gateway_url: http://127.0.0.1:9
admin_email_env: T_EMAIL
admin_password_env: T_PASSWORD
"""


def _soak(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SOAK_STATE_DIR": str(tmp_path / "state")}
    return subprocess.run(
        [sys.executable, "-m", "soak_pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=PROJECT_ROOT,
        env=environment | variables,
    )


def _run(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return _soak(tmp_path, "run", "--reports", str(tmp_path / "reports"), *arguments, **variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--profile", "huge"],
            "level 'huge': is not in the policy; its levels are smoke, pull_request, nightly, pre_release",
        ),
        (["--users", "0"], "0 users; allowed: 1 to 20,000"),
        (["--users", "many"], "Invalid value"),
        (["--run-time", "soon"], "expected a positive duration"),
        (["--fairness-order", "random"], "'random' is not one of 'abba', 'classic'"),
        (["--set", "p95=1"], "unknown threshold 'p95'"),
        (["--set", "gateway_latency_ms_p95_max"], "expected NAME=VALUE"),
        (["--target", "nowhere.yaml"], "nowhere.yaml"),
        (["--nonsense"], "No such option"),
    ],
)
def test_a_bad_argument_is_told_and_nothing_started(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = _run(tmp_path, *arguments)
    assert done.returncode == 254
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "reports").exists()


def test_the_variables_of_locust_are_checked_alike(tmp_path: Path) -> None:
    done = _run(tmp_path, LOCUST_RUN_TIME="soon")
    assert (done.returncode, "expected a positive duration" in done.stderr) == (254, True)


def test_a_target_that_does_not_allow_load_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target.yaml"
    target.write_text(NO_LOAD)
    done = _run(tmp_path, "--target", str(target), ACP_ADMIN_EMAIL="a@b.c", ACP_ADMIN_PASSWORD="secret-word")
    assert done.returncode == 254
    assert "allow_load" in done.stderr
    assert "secret-word" not in done.stdout + done.stderr


def test_a_missing_credential_is_named(tmp_path: Path) -> None:
    target = tmp_path / "target.yaml"
    target.write_text(UNREACHABLE)
    done = _run(tmp_path, "--target", str(target), T_EMAIL="a@b.c")
    assert done.returncode == 254
    assert "T_PASSWORD" in done.stderr


def test_an_unreachable_target_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    target = tmp_path / "target.yaml"
    target.write_text(UNREACHABLE)
    done = _run(tmp_path, "--target", str(target), T_EMAIL="a@b.c", T_PASSWORD="secret-word")
    assert done.returncode == 254
    assert "127.0.0.1:9" in done.stderr
    assert "secret-word" not in done.stdout + done.stderr


def test_a_run_that_is_not_there_cannot_be_judged(tmp_path: Path) -> None:
    done = _soak(tmp_path, "judge", "20261123T073000Z", "--reports", str(tmp_path))
    assert done.returncode == 3
    assert "plan.json" in done.stderr


def test_a_run_id_is_no_path(tmp_path: Path) -> None:
    done = _soak(tmp_path, "judge", "..", "--reports", str(tmp_path))
    assert done.returncode == 254
