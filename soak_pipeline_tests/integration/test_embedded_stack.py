"""The embedded stack as its user sees it: started, used, broken, started again, and gone without a trace."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.acp import stack as acp_stack
from infra.acp.state import StateDirectory
from soak_pipeline import PROJECT_ROOT
from soak_pipeline_tests.waiting import PATIENCE_S, is_gone, wait_for, wait_until_gone

pytestmark = pytest.mark.integration

PORTS = {
    "ACP_GATEWAY_PORT": "28000",
    "ACP_POSTGRES_PORT": "28433",
    "ACP_REDIS_PORT": "28380",
    "ACP_METRICS_FIRST_PORT": "28100",
}


@dataclass
class Stack:
    """One state directory, driven by the command line."""

    directory: Path
    user: str | None = None

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ACP_")}
        options: dict[str, Any] = {}
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            environment["HOME"] = str(self.directory)  # Ours may be closed to it.
        return subprocess.run(
            [sys.executable, "-m", "infra.acp", *arguments],
            env=environment | {"ACP_STATE_DIR": str(self.directory)} | variables,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            **options,
        )

    def up(self, *arguments: str, **variables: str) -> dict[str, Any]:
        answer = self.run("up", "--json", *arguments, **(PORTS | variables))
        assert answer.returncode == 0, answer.stderr + self.logs()
        report: dict[str, Any] = json.loads(answer.stdout)
        return report

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run("down")

    def status(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return report

    def environment(self) -> dict[str, str]:
        variables: dict[str, str] = json.loads(self.run("env", "--json").stdout)
        return variables

    def logs(self) -> str:
        return "\n".join(file.read_text(errors="replace")[-1000:] for file in self.directory.glob("logs/*.log"))


@pytest.fixture
def stack() -> Iterator[Stack]:
    # Not in tmp_path, which is closed to the account that PostgreSQL runs as when the tests run as root.
    directory = Path(tempfile.gettempdir()) / f"acp-stack-{os.getpid()}-{time.time_ns()}"
    opened = Stack(directory)
    yield opened
    opened.down()
    shutil.rmtree(directory, ignore_errors=True)


def pids(report: dict[str, Any]) -> dict[str, int]:
    return {item["name"]: item["pid"] for item in report["processes"]}


def logged_in(stack: Stack) -> tuple[str, dict[str, str]]:
    found = stack.environment()
    body = {"email": found["ACP_ADMIN_EMAIL"], "password": found["ACP_ADMIN_PASSWORD"]}
    answer = httpx.post(f"{found['ACP_GATEWAY_URL']}/auth/token", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return found["ACP_GATEWAY_URL"], {"Authorization": f"Bearer {answer.json()['data']['access_token']}"}


def test_a_stack_comes_up_serves_and_leaves_nothing_behind(stack: Stack) -> None:
    report = stack.up()
    assert report["was_up"] is False
    assert all(item["alive"] and item["rss_bytes"] > 0 for item in report["processes"])
    assert stack.up()["was_up"] is True
    assert pids(stack.status()) == pids(report)

    url, headers = logged_in(stack)
    # A connection of its own for each call, so that both workers answer some.
    asked = 40
    for _ in range(asked):
        assert httpx.get(f"{url}/auth/me", headers=headers, timeout=PATIENCE_S).status_code == 200

    def counted() -> float:
        page = httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text
        label = r'acp_gateway_request_latency_seconds_count\{method="GET",path="/auth/me",tenant_id="[^"]+"\} (\S+)'
        return sum(float(value) for value in re.findall(label, page))

    assert counted() == asked
    page = httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text
    assert 'le="0.25"' in page
    for process in ("gateway-0", "gateway-1"):
        assert f'process_resident_memory_bytes{{process="{process}"}}' in page
    assert 'process_threads{process="gateway-0"}' in page
    for entry in stack.environment()["ACP_METRICS_URLS"].split(","):
        worker_page = httpx.get(entry.partition("=")[2], timeout=PATIENCE_S).text
        assert "process_resident_memory_bytes" in worker_page
        assert "process_threads" in worker_page

    def drained() -> bool:
        queues = httpx.get(f"{url}/system/health", timeout=PATIENCE_S).json()["queues"]
        return queues["audit_stream_length"] == 0 and queues["flight_stream_length"] == 0

    wait_for(drained, "the workers have written everything")
    verified = httpx.get(f"{url}/audit/logs/verify", headers=headers, timeout=PATIENCE_S).json()["data"]
    assert verified["valid"]
    assert verified["processed_count"] >= asked + 1

    secret = stack.environment()["ACP_ADMIN_PASSWORD"]
    assert not any(secret in " ".join(psutil.Process(pid).cmdline()) for pid in pids(report).values())
    assert secret not in stack.logs()

    assert stack.down().returncode == 0
    assert all(is_gone(pid) for pid in pids(report).values())
    assert stack.run("env").returncode == 1
    assert "no stack was running" in stack.down().stdout


def test_a_killed_worker_is_replaced_and_the_rest_goes_on(stack: Stack) -> None:
    before = pids(stack.up())
    for name in ("gateway-0", "audit"):
        os.kill(before[name], signal.SIGKILL)

    def replaced() -> bool:
        now = {item["name"]: item for item in stack.status()["processes"]}
        return all(now[name]["pid"] != before[name] and now[name]["alive"] for name in ("gateway-0", "audit"))

    wait_for(replaced, "both run again")
    after = stack.status()
    assert {item["name"]: item["restarts"] for item in after["processes"]}["audit"] == 1
    assert pids(after)["gateway-1"] == before["gateway-1"]
    url, headers = logged_in(stack)
    wait_for(lambda: httpx.get(f"{url}/auth/me", headers=headers, timeout=PATIENCE_S).status_code == 200, "it serves")


def test_what_a_crash_has_left_is_replaced_and_the_data_is_kept(stack: Stack) -> None:
    before = pids(stack.up())
    url, headers = logged_in(stack)
    tenant = {"tenant_id": "11111111-1111-4111-8111-111111111111", "name": "kept", "rpm_limit": 1234}
    assert httpx.post(f"{url}/auth/tenants", json=tenant, headers=headers, timeout=PATIENCE_S).status_code == 201
    os.kill(before["supervisor"], signal.SIGKILL)
    wait_until_gone(before["supervisor"])
    assert stack.status()["phase"] == "crashed"
    assert stack.run("env").returncode == 1

    after = pids(stack.up())
    assert all(is_gone(pid) for pid in before.values())
    assert not set(after.values()) & set(before.values())
    url, headers = logged_in(stack)
    kept = httpx.get(f"{url}/auth/tenants/{tenant['tenant_id']}", headers=headers, timeout=PATIENCE_S).json()
    assert (kept["name"], kept["rpm_limit"]) == ("kept", 1234)

    assert stack.run("up", "--fresh").returncode == 1
    os.kill(after["supervisor"], signal.SIGKILL)
    wait_until_gone(after["supervisor"])
    assert stack.down().returncode == 0
    assert all(is_gone(pid) for pid in after.values())
    stack.up("--fresh")
    url, headers = logged_in(stack)
    assert (
        httpx.get(f"{url}/auth/tenants/{tenant['tenant_id']}", headers=headers, timeout=PATIENCE_S).status_code == 404
    )


def test_two_starts_at_once_make_one_stack_and_taken_ports_are_passed_over(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(lambda _: stack.up(ACP_GATEWAY_PORT=str(port)), range(2)))
    assert sorted(report["was_up"] for report in reports) == [False, True]
    assert pids(reports[0]) == pids(reports[1])
    assert reports[0]["ports"]["gateway"] > port
    assert httpx.get(f"{reports[0]['gateway_url']}/health", timeout=PATIENCE_S).status_code == 200


def test_a_port_that_is_taken_between_the_look_and_the_start_is_replaced(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free_port, answers = acp_stack.free_port, iter([0, port])
        monkeypatch.setattr(acp_stack, "free_port", lambda *asked: next(answers, None) or free_port(*asked))
        for name, first in PORTS.items():
            monkeypatch.setenv(name, first)
        up = acp_stack.up(StateDirectory(stack.directory))
    assert set(pids(stack.status())) == {process.name for process in up.record.processes}
    assert port not in up.record.ports.values()
    assert stack.status()["phase"] == "up"
    assert "postgres ended with 1 while it started" in stack.logs()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try another account; run the tests as root")
def test_an_ordinary_account_can_run_it(stack: Stack) -> None:
    try:
        reachable = Stack(stack.directory, "nobody").run("--help").returncode == 0
    except PermissionError:
        reachable = False
    if not reachable:
        pytest.skip(
            "the account nobody cannot reach this Python or this project; install both outside of a closed home"
        )
    stack.user = "nobody"
    stack.directory.mkdir(mode=0o700)
    os.chown(stack.directory, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    report = stack.up()
    assert {psutil.Process(pid).username() for pid in pids(report).values()} == {"nobody"}
    url, headers = logged_in(stack)
    assert httpx.get(f"{url}/auth/me", headers=headers, timeout=PATIENCE_S).status_code == 200
    assert stack.down().returncode == 0
    assert all(is_gone(pid) for pid in pids(report).values())
