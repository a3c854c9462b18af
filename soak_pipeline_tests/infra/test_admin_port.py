"""The administration port of a process, and a stack's processes told of a fault together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.acp import admin, fault_control, faults, stack
from infra.acp.__main__ import main
from infra.acp.settings import Settings, from_environment
from infra.acp.state import StackRecord, StateDirectory
from infra.acp.supervisor import SUPERVISOR_LOCK, Supervisor
from soak_pipeline_tests.infra.servers import free_port
from soak_pipeline_tests.waiting import PATIENCE_S, wait_for

TOKEN = "a-token-that-nobody-else-has"
DSN = "postgresql://127.0.0.1:1/none"


@pytest.fixture(autouse=True)
def none_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(admin, "POLL_INTERVAL_S", 0.01)
    monkeypatch.delenv(faults.ENVIRONMENT_VARIABLE, raising=False)
    faults.clear()
    yield
    faults.clear()


def settings(**changes: Any) -> Settings:
    values = {f"{short}_dsn": DSN for short in ("identity", "audit", "usage", "flight", "graph")}
    return Settings(**{"redis_url": "redis://", "jwt_secret": "", "signing_key": "", **values, **changes})


@contextmanager
def gateway_admin(name: str = "gateway-0") -> Iterator[int]:
    port = free_port()
    with admin.serving(settings(admin_port=port, admin_token=TOKEN, process_name=name), "gateway"):
        yield port


def ask(port: int, method: str, path: str, body: Any = None, token: str = TOKEN) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_fault_is_set_shown_and_cleared_while_the_process_runs() -> None:
    with gateway_admin() as port:
        status, shown = ask(port, "GET", "/faults")
        assert (status, shown["process"], shown["role"], shown["faults"]) == (200, "gateway-0", "gateway", {})
        assert "latency_drift" in shown["known"]
        assert "row_deleted" not in shown["known"]
        status, shown = ask(port, "PUT", "/faults/latency_drift", {"ms_per_minute": 7})
        assert (status, shown["faults"]["latency_drift"]["ms_per_minute"]) == (200, 7.0)
        drift = faults.active("latency_drift")
        assert drift is not None
        assert drift["ms_per_minute"] == 7.0
        assert ask(port, "PUT", "/faults/clock_off")[0] == 200
        assert set(faults.all_set()) == {"latency_drift", "clock_off"}
        assert ask(port, "DELETE", "/faults/latency_drift")[0] == 200
        assert set(faults.all_set()) == {"clock_off"}
        assert ask(port, "DELETE", "/faults")[1]["faults"] == {}
        assert faults.all_set() == {}


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], "\u00e4"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/faults"), ("PUT", "/faults/clock_off"), ("DELETE", "/faults")])
def test_who_has_not_the_token_learns_and_changes_nothing(method: str, path: str, token: str) -> None:
    with gateway_admin() as port:
        faults.set_faults({"metrics_gone": {}})
        status, answer = ask(port, method, path, token=token)
        assert (status, list(answer)) == (401, ["error"])
        assert TOKEN not in answer["error"]
        assert set(faults.all_set()) == {"metrics_gone"}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/faults/no_such", {}, 422, "'no_such' is unknown, must be one of"),
        ("/faults/clock_off", {"offset": 1}, 422, "no parameter 'offset', must be one of after_s, offset_s"),
        (
            "/faults/clock_off",
            {"offset_s": 1e9},
            422,
            "offset_s is 1000000000.0, must be a number from -86400 to 86400",
        ),
        ("/faults/row_deleted", {}, 422, "concerns audit; gateway-0 is gateway"),
        ("/faults/clock_off", b"{", 400, "the body is no JSON"),
        ("/faults/clock_off", [], 400, "the body is a list, must be an object"),
        ("/faults/clock_off", b" " * 70_000, 413, "the body has 70000 bytes, must be at most 65536"),
        ("/metrics", {}, 404, "/metrics is unknown, must be /faults"),
    ],
)
def test_what_cannot_be_set_is_said_with_what_can(path: str, body: Any, status: int, message: str) -> None:
    with gateway_admin() as port:
        found, answer = ask(port, "PUT", path, body)
        assert found == status
        assert message in answer["error"]
        assert faults.all_set() == {}


def test_the_port_is_on_the_loopback_address_only_and_needs_a_token() -> None:
    names = admin.TenantNames(DSN)
    with admin.AdminServer(0, token=TOKEN, process="p", role="gateway", names=names) as server:
        assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(ValueError, match="no token is set"):
        admin.AdminServer(0, token="", process="p", role="gateway", names=names)


def test_without_a_port_and_a_fault_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    with admin.serving(settings(), "gateway"):
        assert threading.active_count() == before
    monkeypatch.setenv(faults.ENVIRONMENT_VARIABLE, "clock_off:offset_s=5")
    with admin.serving(settings(), "gateway"):
        clock = faults.active("clock_off")
        assert clock is not None
        assert clock["offset_s"] == 5.0
    assert threading.active_count() == before


def test_a_process_with_an_unknown_fault_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {f"ACP_{short}_DSN": DSN for short in ("IDENTITY", "AUDIT", "USAGE", "FLIGHT", "GRAPH")}.items():
        monkeypatch.setenv(name, value)
    for name in ("ACP_REDIS_URL", "ACP_JWT_SECRET", "ACP_SIGNING_KEY"):
        monkeypatch.setenv(name, "unused")
    monkeypatch.setenv(faults.ENVIRONMENT_VARIABLE, "sunspots")
    assert from_environment().admin_port == 0
    assert main(["run", "gateway"]) == 254
    assert "fault 'sunspots' is unknown, must be one of" in capsys.readouterr().err


def test_the_stop_signal_reaches_the_process_and_not_the_port(tmp_path: Path) -> None:
    """The workers look for a pending signal, which a thread that does not block it would be ended by."""
    code = (
        "import signal, sys, time\n"
        "from infra.acp import admin\n"
        "from infra.acp.settings import from_environment\n"
        "with admin.serving(from_environment(), 'audit'):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "    print('ready', flush=True)\n"
        "    while signal.SIGTERM not in signal.sigpending():\n"
        "        time.sleep(0.01)\n"
        "sys.exit(7)\n"
    )
    variables = {f"ACP_{short}_DSN": DSN for short in ("IDENTITY", "AUDIT", "USAGE", "FLIGHT", "GRAPH")}
    variables |= {"ACP_REDIS_URL": "r", "ACP_JWT_SECRET": "j", "ACP_SIGNING_KEY": "s", "ACP_ADMIN_TOKEN": TOKEN}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | variables | {"ACP_ADMIN_PORT": str(free_port())},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 7
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def running_stack(directory: Path, ports: dict[str, int]) -> Iterator[StateDirectory]:
    """A state directory as that of a running stack with these administration ports."""
    state = StateDirectory(directory)
    state.create()
    token = {**state.ensure_secrets(""), "admin_token": TOKEN}
    state._write("secrets.json", token, 0o600)
    state.write_record(StackRecord("up", {"gateway": 1, **ports}, 1, "admin@acp.example", False, False))
    with state.locked(SUPERVISOR_LOCK, 0):
        yield state


def all_ports(port: int) -> dict[str, int]:
    names = ("gateway-0", "audit", "usage", "flight", "sealer", "graph", "metrics")
    return {f"{name}_admin": port for name in names}


def test_the_processes_concerned_are_told_and_what_is_set_is_kept_for_those_restarted(tmp_path: Path) -> None:
    with gateway_admin() as port, running_stack(tmp_path / "state", all_ports(port)) as state:
        told = fault_control.set_fault(state, "latency_drift", {"ms_per_minute": "5"})
        assert (told.processes, told.values["ms_per_minute"]) == (("gateway-0",), 5.0)
        drift = faults.active("latency_drift")
        assert drift is not None
        assert drift.set_at == told.values["set_at"]
        assert state.read_faults() == {"latency_drift": told.values}
        # A process that is started now begins where the fault is by now.
        assert faults.parse(faults.as_text(faults.of_role(state.read_faults(), "gateway"))) == state.read_faults()
        report = fault_control.listing(state)
        assert report["faults"]["latency_drift"]["set_in"][0] == "gateway-0"
        assert report["faults"]["latency_drift"]["parameters"]["ms_per_minute"] == 5.0
        assert report["faults"]["clock_off"]["set_in"] == []
        fault_control.set_fault(state, "clock_off", {})
        fault_control.clear_fault(state, "latency_drift")
        assert set(state.read_faults()) == set(faults.all_set()) == {"clock_off"}
        fault_control.clear_fault(state, None)
        assert (state.read_faults(), faults.all_set()) == ({}, {})


def test_a_stack_that_cannot_be_told_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_control, "ANSWERS_WITHIN_S", 0.0)
    state = StateDirectory(tmp_path / "none")
    with pytest.raises(fault_control.ControlError, match=r"no stack runs in .*; start it with `up`"):
        fault_control.set_fault(state, "clock_off", {})
    with pytest.raises(faults.FaultError, match="is unknown"):
        fault_control.set_fault(state, "no_such", {})
    with (
        running_stack(tmp_path / "closed", all_ports(free_port())) as closed,
        pytest.raises(fault_control.ControlError, match="gateway-0 did not answer on its administration port"),
    ):
        fault_control.set_fault(closed, "clock_off", {})
    with (
        running_stack(tmp_path / "portless", {}) as portless,
        pytest.raises(fault_control.ControlError, match="without administration ports"),
    ):
        fault_control.set_fault(portless, "clock_off", {})
    with (
        gateway_admin() as port,
        running_stack(tmp_path / "other", all_ports(port)) as other,
        pytest.raises(fault_control.ControlError, match="audit refused with 422: fault row_deleted concerns audit"),
    ):
        fault_control.set_fault(other, "row_deleted", {})


def test_the_supervisor_gives_a_process_the_faults_of_its_role_and_again_when_it_is_restarted(tmp_path: Path) -> None:
    with running_stack(tmp_path / "state", all_ports(0)) as state:
        state.write_faults({name: faults.checked(name, {}) for name in ("clock_off", "row_deleted")})
        record = state.read_record()
        assert record is not None
        record.ports |= {"postgres": 1, "redis": 1, "gateway_metrics": 1, "gateway-0_admin": 4_711}
        supervisor = Supervisor(state, record, state.read_secrets(), {})
        child = supervisor._python_child("gateway-0", "gateway", 1)
        assert (child.environment["ACP_ADMIN_PORT"], child.environment["ACP_ADMIN_TOKEN"]) == ("4711", TOKEN)
        child.command = [sys.executable, "-c", "import os; print(os.environ['ACP_FAULTS'])"]

        def given() -> dict[str, Any]:
            assert child.process is not None
            assert child.process.wait(PATIENCE_S) == 0
            return faults.parse((state.logs / "gateway-0.log").read_text().splitlines()[-1])

        supervisor._start(child)
        first = state.read_faults()["clock_off"]
        assert given() == {"clock_off": first}
        state.write_faults({**state.read_faults(), "latency_drift": faults.checked("latency_drift", {})})

        def is_restarted() -> bool:
            supervisor._restart_dead()
            return bool(child.restarts)

        wait_for(is_restarted, "the process runs again")
        # Set when it was set, and not when the process was started again.
        assert given() == {"clock_off": first, "latency_drift": state.read_faults()["latency_drift"]}


def test_the_command_line_lists_sets_and_clears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACP_STATE_DIR", str(tmp_path / "state"))
    assert main(["fault", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in faults.FAULTS)
    assert "no stack runs" in listed
    assert main(["fault", "set", "clock_off"]) == 1
    assert "no stack runs" in capsys.readouterr().err
    assert main(["fault", "set", "clock_off", "offset_s"]) == 254
    assert "'offset_s' is no assignment, must be of the form parameter=value" in capsys.readouterr().err
    assert main(["up", "--fault", "clock_off:offset_s=x"]) == 254
    assert "offset_s is 'x', must be a number" in capsys.readouterr().err
    with gateway_admin() as port, running_stack(tmp_path / "state", all_ports(port)):
        assert main(["fault", "set", "clock_off", "offset_s=30"]) == 0
        assert "fault clock_off is set in gateway-0, sealer: after_s=0.0, offset_s=30.0" in capsys.readouterr().out
        assert main(["fault", "list", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["faults"]["clock_off"]["parameters"]["offset_s"] == 30.0
        with pytest.raises(stack.StackError, match="set its faults with `fault set`"):
            stack.up(StateDirectory(tmp_path / "state"), set_faults={"clock_off": {}})
        assert main(["fault", "clear", "clock_off"]) == 0
        cleared = capsys.readouterr().out
        assert "fault clock_off is cleared in gateway-0, sealer; what it did to the stores stays" in cleared


def test_a_state_directory_from_before_gets_the_secret_that_it_lacks(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.create()
    old = {name: value for name, value in state.ensure_secrets("").items() if name != "admin_token"}
    state._write("secrets.json", old, 0o600)
    assert state.read_secrets() == old
    renewed = state.ensure_secrets("")
    assert renewed.items() > old.items()
    assert len(renewed["admin_token"]) > 30
