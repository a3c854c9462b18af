"""Whose stack it is: one that an operator started is used and left, a dead run's is replaced, one's own is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from soak_pipeline.commands import embedded_stack as module
from soak_pipeline.evidence.run_folder import write_json
from soak_pipeline.model.errors import HarnessFailed

RUNNING = {"ACP_GATEWAY_URL": "http://127.0.0.1:1"}


class FakePlatform:
    """Records what is asked of `acp`; the real one has its own tests."""

    def __init__(self, running: bool) -> None:
        self.running = running
        self.actions: list[str] = []

    def environment(self, environment: object) -> dict[str, str]:
        return RUNNING if self.running else {}

    def act(self, action: str, environment: object, *options: str) -> None:
        self.actions.append(" ".join((action, *options)))
        self.running = action == "up"


def _use(monkeypatch: pytest.MonkeyPatch, running: bool) -> FakePlatform:
    platform = FakePlatform(running)
    monkeypatch.setattr(module, "stack_environment", platform.environment)
    monkeypatch.setattr(module, "_quietly", platform.act)
    return platform


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"SOAK_STATE_DIR": str(tmp_path)}


def test_ones_own_stack_is_started_fresh_and_stopped(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tmp_path: Path
) -> None:
    platform = _use(monkeypatch, running=False)
    with module.embedded_stack(environment) as variables:
        assert variables == environment | RUNNING
        assert platform.actions == ["up --fresh"]
    assert platform.actions == ["up --fresh", "down"]
    assert not (tmp_path / "stack_owner.json").exists()


def test_it_is_stopped_also_when_the_run_breaks(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tmp_path: Path
) -> None:
    platform = _use(monkeypatch, running=False)
    with pytest.raises(ZeroDivisionError), module.embedded_stack(environment):
        raise ZeroDivisionError
    assert platform.actions[-1] == "down"
    assert not list(tmp_path.glob("*.json")), "the mark would make the next stack here a leftover"


def test_an_operators_stack_is_used_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    platform = _use(monkeypatch, running=True)
    with module.embedded_stack(environment) as variables:
        assert variables["ACP_GATEWAY_URL"] == RUNNING["ACP_GATEWAY_URL"]
    assert platform.actions == []


def _owner(tmp_path: Path, pid: int, started_unix_s: float) -> None:
    write_json(tmp_path / "stack_owner.json", module._Owner(pid=pid, started_unix_s=started_unix_s))


def test_the_stack_of_a_dead_run_is_replaced(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tmp_path: Path
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _owner(tmp_path, dead.pid, 0.0)
    platform = _use(monkeypatch, running=True)
    with module.embedded_stack(environment):
        pass
    assert platform.actions == ["down", "up --fresh", "down"]


def test_another_process_under_the_owners_pid_is_not_the_owner(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tmp_path: Path
) -> None:
    _owner(tmp_path, os.getpid(), psutil.Process().create_time() - 100.0)
    platform = _use(monkeypatch, running=True)
    with module.embedded_stack(environment):
        pass
    assert platform.actions[0] == "down"


def test_a_guardian_removes_the_stack_of_a_dead_run_and_no_other(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tmp_path: Path
) -> None:
    platform = _use(monkeypatch, running=True)
    assert not module.remove_leftover_stack(environment), "a stack without a mark is the operator's"
    with module.embedded_stack(environment):
        assert module.command_to_remove_own_stack(environment) == ()
    _owner(tmp_path, os.getpid(), psutil.Process().create_time())
    assert module.command_to_remove_own_stack(environment)
    assert not module.remove_leftover_stack(environment), "its owner lives"
    assert platform.actions == []
    _owner(tmp_path, os.getpid(), 0.0)
    assert module.remove_leftover_stack(environment)
    assert platform.actions == ["down"]
    assert not module.remove_leftover_stack(environment)


def test_a_stack_that_does_not_start_is_told_with_its_reason(environment: dict[str, str], tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the state directory should be")
    with (
        pytest.raises(HarnessFailed, match="acp up"),
        module.embedded_stack({**os.environ, **environment, "ACP_STATE_DIR": str(blocked)}),
    ):
        pass
