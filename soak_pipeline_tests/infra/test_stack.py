"""Ports, state and processes of an embedded stack: the parts that need none to run."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.acp import processes, stack
from infra.acp.embedded import postgres
from infra.acp.state import ProcessRecord, StackRecord, StateDirectory, StateError, connection_environment, dsn_of
from soak_pipeline_tests.waiting import PATIENCE_S


def record(**changes: object) -> StackRecord:
    values: dict[str, object] = {
        "phase": "up",
        "ports": {"gateway": 18000, "postgres": 15433, "redis": 16380},
        "workers": 2,
        "admin_email": "admin@acp.example",
        "external_postgres": False,
        "external_redis": False,
        **changes,
    }
    return StackRecord(**values)  # type: ignore[arg-type]


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.create()
    return directory


def test_a_taken_port_is_passed_over_and_none_is_given_twice() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        taken: set[int] = set()
        first, second = stack.free_port(port, taken), stack.free_port(port, taken)
        assert port < first < second


def test_each_process_of_ours_has_an_administration_port_unless_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACP_METRICS_FIRST_PORT", "27700")
    monkeypatch.delenv("ACP_ADMIN_FIRST_PORT", raising=False)
    ports = stack._plan(workers=3).ports
    admin = {name: port for name, port in ports.items() if name.endswith("_admin")}
    roles = ("audit", "usage", "flight", "sealer", "graph", "metrics")
    assert set(admin) == {f"{name}_admin" for name in ("gateway-0", "gateway-1", "gateway-2", *roles)}
    assert len(set(ports.values())) == len(ports)
    assert min(admin.values()) >= 27_750
    monkeypatch.setenv("ACP_ADMIN_FIRST_PORT", "27800")
    assert min(port for name, port in stack._plan(workers=1).ports.items() if name.endswith("_admin")) >= 27_800
    monkeypatch.setenv("ACP_ADMIN_FIRST_PORT", "0")
    assert not any(name.endswith("_admin") for name in stack._plan(workers=1).ports)


def test_what_is_recorded_is_read_back(state: StateDirectory) -> None:
    written = record(processes=[ProcessRecord("redis", 12, 1.5, [16380])])
    state.write_record(written)
    assert state.read_record() == written


@pytest.mark.parametrize("content", ["", "{", "[]", '{"phase": "up"}', '{"processes": 3}'])
def test_a_broken_record_is_none(state: StateDirectory, content: str) -> None:
    (state.path / "stack.json").write_text(content)
    assert state.read_record() is None


def test_secrets_are_kept_from_others_and_stay_the_same(state: StateDirectory) -> None:
    first = state.ensure_secrets("")
    assert stat.S_IMODE((state.path / "secrets.json").stat().st_mode) == 0o600
    assert state.ensure_secrets("") == first
    assert state.ensure_secrets("chosen")["admin_password"] == "chosen"
    assert len(bytes.fromhex(first["signing_key"])) == 32
    state.write_record(record())
    shown = (state.path / "stack.json").read_text()
    assert not any(secret in shown for secret in first.values())


def test_a_lock_is_held_by_one_at_a_time(state: StateDirectory) -> None:
    assert not state.is_locked("a.lock")
    with state.locked("a.lock", 0):
        assert state.is_locked("a.lock")
        with pytest.raises(StateError, match="held by another process"), state.locked("a.lock", 0):
            pass
    assert not state.is_locked("a.lock")


def test_the_environment_names_every_store(state: StateDirectory) -> None:
    secret = {"postgres_password": "p/w", "redis_password": "r", "admin_password": "a"}
    found = connection_environment(record(), secret, {})
    assert found["ACP_AUDIT_DSN"] == "postgresql://acp:p%2Fw@127.0.0.1:15433/acp_audit"
    assert found["ACP_FLIGHT_DSN"].endswith("/acp_flight_recorder")
    assert found["ACP_REDIS_URL"] == "redis://:r@127.0.0.1:16380/0"
    external = {
        "postgres": "postgresql://u:p@db.example:5432/postgres?sslmode=require",
        "redis": "redis://cache.example",
    }
    found = connection_environment(record(), secret, external)
    assert found["ACP_USAGE_DSN"] == "postgresql://u:p@db.example:5432/acp_usage?sslmode=require"
    assert found["ACP_REDIS_URL"] == "redis://cache.example"
    assert dsn_of("postgresql://h/a", "b") == "postgresql://h/b"


def test_there_is_no_environment_of_a_stack_that_does_not_run(state: StateDirectory) -> None:
    state.ensure_secrets("")
    state.write_record(record())
    with pytest.raises(stack.StackError, match="no stack runs"):
        stack.environment(state)
    assert stack.status(state)["phase"] == "crashed"


def test_a_process_is_only_found_with_its_own_start_time() -> None:
    pid = os.getpid()
    started = processes.started_at(pid)
    assert processes.find(ProcessRecord("self", pid, started)) is not None
    assert processes.find(ProcessRecord("earlier owner of the pid", pid, started - 60)) is None
    assert processes.started_at(2**22 - 1) == 0.0


def test_cleaning_up_stops_what_a_crash_left_and_nothing_else(state: StateDirectory) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(3600)"]
    left, stranger = subprocess.Popen(sleeper), subprocess.Popen(sleeper)
    try:
        state.write_record(
            record(
                processes=[
                    ProcessRecord("audit", left.pid, processes.started_at(left.pid)),
                    ProcessRecord("usage", stranger.pid, processes.started_at(stranger.pid) - 60),
                ]
            )
        )
        assert stack.clean_up(state) == 1
        left.wait(PATIENCE_S)
        assert stranger.poll() is None
        assert state.read_record() is None
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


def test_a_process_that_ignores_the_signal_is_killed() -> None:
    stubborn = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            " print('ready', flush=True); time.sleep(3600)",
        ],
        stdout=subprocess.PIPE,
    )
    assert stubborn.stdout is not None
    assert stubborn.stdout.readline() == b"ready\n"
    found = processes.find(ProcessRecord("stubborn", stubborn.pid, processes.started_at(stubborn.pid)))
    assert found is not None
    processes.stop([found], signal.SIGTERM, 0.2)
    assert not found.is_running()
    stubborn.wait(PATIENCE_S)
    stubborn.stdout.close()


def test_nothing_is_down_twice(tmp_path: Path) -> None:
    assert stack.down(StateDirectory(tmp_path / "never made")) is False


def test_bad_numbers_of_the_environment_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACP_GATEWAY_PORT", "http")
    with pytest.raises(stack.StackError, match="ACP_GATEWAY_PORT is 'http'"):
        stack._plan(None)
    monkeypatch.delenv("ACP_GATEWAY_PORT")
    with pytest.raises(stack.StackError, match="0 gateway workers"):
        stack._plan(0)


def test_a_closed_directory_above_is_out_of_reach_of_another_account(tmp_path: Path) -> None:
    open_place, closed_place = tmp_path / "open", tmp_path / "closed"
    for place, mode in ((open_place, 0o755), (closed_place, 0o700)):
        (place / "inner").mkdir(parents=True)
        place.chmod(mode)
    stranger = pwd.struct_passwd(("stranger", "x", 2**30, 2**30, "", "/", "/bin/false"))
    owner = pwd.getpwuid(os.getuid())
    assert postgres.reachable_by(closed_place / "inner", owner)
    assert not postgres.reachable_by(closed_place / "inner" / "not made yet", stranger)


def test_data_of_a_state_directory_that_is_gone_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SHARED_ROOT", tmp_path / "shared")
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    kept.mkdir()
    homes = {state: postgres._shared_home(state) for state in (kept, gone)}
    for state_path, home in homes.items():
        (home / "postgres").mkdir(parents=True)
        (home / postgres.OWNER_FILE).write_text(str(state_path))
    assert postgres.remove_abandoned() == [homes[gone]]
    assert homes[kept].exists()
    (homes[gone] / "postgres").mkdir(parents=True)
    (homes[gone] / postgres.OWNER_FILE).write_text(str(gone))
    (homes[gone] / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert postgres.remove_abandoned() == []  # a server may still run there


def test_data_of_another_account_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SHARED_ROOT", tmp_path / "shared")
    theirs = tmp_path / "theirs"
    home = postgres._shared_home(theirs)
    (home / "postgres").mkdir(parents=True)
    (home / postgres.OWNER_FILE).write_text(str(theirs))
    exists = Path.exists

    def out_of_reach(path: Path) -> bool:
        if path == theirs:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", out_of_reach)
    assert postgres.remove_abandoned() == []
    assert home.is_dir()


def test_the_command_line_says_what_is_missing() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "infra.acp", "run", "gateway"], env={}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 254
    assert "ACP_REDIS_URL is not set" in answer.stderr


def test_status_of_nothing_is_down(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "infra.acp", "status", "--json"],
        env={**os.environ, "ACP_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, json.loads(answer.stdout)["phase"]) == (1, "down")
