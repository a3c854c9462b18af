"""`soak run --dry-run` says what a run would send, and sends nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.commands.dry_run import dry_run
from soak_pipeline.model.errors import BadInput, LoadRefused
from soak_pipeline.model.request import SoakRequest
from soak_pipeline_tests.hostile.server import answering, hostile, response
from soak_pipeline_tests.waiting import PATIENCE_S

SOAK_RUN = (sys.executable, "-m", "soak_pipeline.cli", "run")
CREDENTIALS = {"T_EMAIL": "operator@example", "T_PASSWORD": "secret-word"}


def _target(tmp_path: Path, url: str, *lines: str) -> Path:
    path = tmp_path / "target.yaml"
    path.write_text(
        "\n".join(
            [
                "name: staging",
                f"gateway_url: {url}",
                "admin_email_env: T_EMAIL",
                "admin_password_env: T_PASSWORD",
                "metrics_urls: [/metrics]",
                *(lines or ("allow_load: true",)),
            ]
        )
    )
    return path


def test_nothing_is_sent_and_nothing_is_written(tmp_path: Path) -> None:
    with hostile(answering(response(b"{}"))) as server:
        target = _target(tmp_path, server.url)
        done = subprocess.run(
            [*SOAK_RUN, "--dry-run", "--target", str(target), "--reports", str(tmp_path / "reports")],
            env={**CREDENTIALS, "SOAK_STATE_DIR": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        assert server.connections == 0
        assert f"{server.url} at 127.0.0.1" in done.stdout
    assert "secret-word" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["target.yaml"]


def test_the_figures_are_those_of_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = SoakRequest(target_path=str(_target(tmp_path, "http://127.0.0.1:9")), profile="smoke")
    assert dry_run(request, tmp_path, CREDENTIALS) == 0
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    # 8 pairs of 4 s: 4 quiet tenants of 30 users, and 5 or 50 noisy ones, each twice per second.
    assert "fairness-1 baseline 32 125 250.0 8,000" in lines
    assert "fairness-1 burst 32 170 340.0 10,880" in lines
    assert "fairness-2 burst 16 170 340.0 5,440" in lines
    assert "fanout fanout 50 at once 600" in lines
    assert "soak soak 45 100 100.0 4,500" in lines
    # 750 + 8,000 + 10,880 + 600 + 500 + 4,500, and 750 + 4,000 + 5,440 where the second look is needed.
    assert any(line.startswith("in all 25,230 to 35,420 requests in ") for line in lines)
    # 60 % of 100 users, one request per second each, 60 : 15 : 10 : 10 : 5.
    assert "A 60 36.00 9.00 6.00 6.00 3.00 60.00" in lines
    assert any("tenants A, B, C, D, E by rpm_limit 0" in line for line in lines)
    assert any("-m soak_pipeline.defs.launch" in line for line in lines)


def test_it_says_what_this_size_can_decide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(_target(tmp_path, "http://127.0.0.1:9"))
    request = SoakRequest(target_path=target, profile="smoke", users=20, run_time="60s")
    assert dry_run(request, tmp_path, CREDENTIALS) == 0
    out = capsys.readouterr().out
    # One user of tenant E with one request per second, 60 % of them executed calls.
    assert "no       tenant E: about 36 executed calls in the soak, p95 needs 72: will be INCONCLUSIVE; " in out
    # What the target file does not name is known before preflight.
    assert "no       rows: database.audit is not available: the target gives no access to the audit database" in out
    assert "skipped  run: a soak of 1 min cannot tell growth from warm-up" in out


def test_the_classic_order_is_one_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = _target(tmp_path, "http://127.0.0.1:9", "allow_load: true", "stop_lever: kill_switch")
    request = SoakRequest(target_path=str(target), profile="smoke", fairness_order="classic")
    assert dry_run(request, tmp_path, CREDENTIALS) == 0
    out = capsys.readouterr().out
    assert "fairness-2" not in out
    assert "by the kill switch" in out


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("allow_load: false",), "allow_load"),
        (("allow_load: true", "production: true"), "production"),
        (("allow_load: true", "max_requests_per_second: 100"), "the target allows 100"),
    ],
)
def test_what_a_run_refuses_is_refused(tmp_path: Path, lines: tuple[str, ...], reason: str) -> None:
    request = SoakRequest(target_path=str(_target(tmp_path, "http://127.0.0.1:9", *lines)))
    with pytest.raises(LoadRefused, match=reason):
        dry_run(request, tmp_path, CREDENTIALS)


def test_a_missing_credential_is_named(tmp_path: Path) -> None:
    request = SoakRequest(target_path=str(_target(tmp_path, "http://127.0.0.1:9")))
    with pytest.raises(BadInput, match="T_PASSWORD"):
        dry_run(request, tmp_path, {"T_EMAIL": "operator@example"})


def test_a_stack_of_its_own_is_not_started_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"ACP_STATE_DIR": str(tmp_path / "platform"), "SOAK_STATE_DIR": str(tmp_path / "state")}
    target = PROJECT_ROOT / "infra" / "targets" / "embedded.yaml"
    assert dry_run(SoakRequest(target_path=str(target)), tmp_path, environment) == 0
    out = capsys.readouterr().out
    assert "the embedded stack on 127.0.0.1, started and stopped by the run" in out
    assert "-m infra.acp up --fresh" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("level", "said"), [("smoke", True), ("pull_request", False)])
def test_a_level_that_is_fitted_to_the_machine_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str, said: bool
) -> None:
    request = SoakRequest(target_path=str(_target(tmp_path, "http://127.0.0.1:9")), profile=level)
    dry_run(request, tmp_path, CREDENTIALS)
    assert ("measures for 5 s, with at most 8,000 calls, what this machine carries" in capsys.readouterr().out) is said
