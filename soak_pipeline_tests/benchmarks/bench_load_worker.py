"""`python -m soak_pipeline_tests.benchmarks.bench_load_worker`: requests per CPU-second of a load worker.

Three figures against the same small server: a bare Locust `FastHttpUser` that posts in a loop and looks at nothing, a
load worker's virtual users in the same closed loop with schedule, checking and recording on, and a whole paced session
with Locust's master and worker. CPU-seconds are those of the sending process alone, so the server's speed and the
machine's other load hardly matter. A benchmark: it prints, and asserts nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from soak_pipeline.load.control import read_lines, read_spec, write_spec
from soak_pipeline.load.lease import LeaseFile, LeaseHolder
from soak_pipeline.load.session import run_session
from soak_pipeline.model.traffic import Kind
from soak_pipeline_tests.load.example_run import (
    ENVIRONMENT,
    behaviour_for,
    example_plan,
    example_session,
    example_spec,
    provisioned_for,
)
from soak_pipeline_tests.load.small_platform import RunningPlatform, running_platform
from soak_pipeline_tests.policies import EXECUTED_ONLY, MIX

LOOP_S = 4.0
LOOP_USERS = 20
PACED_USERS = 400
PACED_PACE_S = 0.4


def bare_fast_http_user(url: str) -> None:
    """The loop to compare with; a process of its own, since Locust patches it."""
    import gevent
    from locust import FastHttpUser
    from locust.env import Environment

    class Bare(FastHttpUser):
        host = url

    environment = Environment(user_classes=[Bare])
    body = b'{"parameters":{"path":"scratch/notes-00.txt"},"metadata":{"tokens":100}}'
    counts = [0] * LOOP_USERS
    token = os.environ["BENCH_TOKEN"]

    def loop(number: int) -> None:
        user = Bare(environment)
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Agent-ID": "good-A-1",
            "X-Request-ID": "2f0d1c52-5d0c-4e52-8f2c-6a3b1d1c0e11",
        }
        while True:
            user.client.post("/execute/read_file", data=body, headers=headers)
            counts[number] += 1

    greenlets = [gevent.spawn(loop, number) for number in range(LOOP_USERS)]
    gevent.sleep(0.5)
    before, cpu_s = sum(counts), time.process_time()
    gevent.sleep(LOOP_S)
    print(json.dumps({"requests": sum(counts) - before, "cpu_s": time.process_time() - cpu_s}))
    gevent.killall(greenlets)


def paced_fast_http_user(url: str) -> None:
    """As many users as in our paced session, at the same pace, each with a plain `FastHttpUser` client."""
    import gevent
    from locust import FastHttpUser
    from locust.env import Environment

    class Bare(FastHttpUser):
        host = url

    environment = Environment(user_classes=[Bare])
    body = b'{"parameters":{"path":"scratch/notes-00.txt"},"metadata":{"tokens":100}}'
    counts = [0] * PACED_USERS
    headers = {"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}", "X-Agent-ID": "good-A-1", "X-Request-ID": "1"}

    def loop(number: int) -> None:
        user = Bare(environment)
        gevent.sleep(PACED_PACE_S * number / PACED_USERS)
        while True:
            begun = time.monotonic()
            user.client.post("/execute/read_file", data=body, headers=headers)
            counts[number] += 1
            gevent.sleep(max(0.0, begun + PACED_PACE_S - time.monotonic()))

    for number in range(PACED_USERS):
        gevent.spawn(loop, number)
    gevent.sleep(1.5)
    before, cpu_s = sum(counts), time.process_time()
    gevent.sleep(LOOP_S)
    print(json.dumps({"requests": sum(counts) - before, "cpu_s": time.process_time() - cpu_s}), flush=True)
    os._exit(0)


def virtual_users(spec_path: Path) -> None:
    """Our virtual users, always late and so in a closed loop, with everything on but Locust's idle master."""
    import gevent

    from soak_pipeline.load.sender.operations import Catalogue
    from soak_pipeline.load.sender.process import LoadProcess
    from soak_pipeline.load.sender.schedule import UserSchedule
    from soak_pipeline.load.sender.users import VirtualUser
    from soak_pipeline.model.credentials import tenant_password

    spec = read_spec(spec_path)
    process = LoadProcess(spec, 0, due_unsent=dict, begun=dict)
    process.start()
    tenant = spec.provisioned.tenants[0]
    catalogue = Catalogue(process.runtime.authority, process.runtime.dialect, tenant, "other")
    password = tenant_password(ENVIRONMENT["ACP_ADMIN_PASSWORD"], spec.plan.run_id, tenant.name)

    def follow(number: int) -> None:
        schedule = UserSchedule(seed=1, session=spec.session, tenant="A", index=number, agents=10)
        user = VirtualUser(process.runtime, tenant, password, number, 0.5, catalogue, schedule)
        user.log_in()
        now = time.monotonic()
        user.follow(now, now + 60.0)

    for number in range(LOOP_USERS):
        gevent.spawn(follow, number)
    gevent.sleep(0.5)
    before, cpu_s = sum(process.runtime.sent.values()), time.process_time()
    gevent.sleep(LOOP_S)
    requests = sum(process.runtime.sent.values()) - before
    print(json.dumps({"requests": requests, "cpu_s": time.process_time() - cpu_s}), flush=True)
    process.end(0)


def measure_loop(role: str, argument: str, environment: Mapping[str, str]) -> float:
    """Requests per CPU-second of one of the loops."""
    output = subprocess.run(
        [sys.executable, "-m", "soak_pipeline_tests.benchmarks.bench_load_worker", role, argument],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    result = json.loads(output)
    return float(result["requests"]) / float(result["cpu_s"])


def measure_virtual_users(platform: RunningPlatform, mix: dict[Kind, float]) -> float:
    """Requests per CPU-second of our closed loop."""
    with tempfile.TemporaryDirectory() as folder:
        session = example_session(users={"A": LOOP_USERS}, pace_s=1e-4, warmup_s=0.1, soak_s=100.0, mix=mix)
        plan = example_plan(max_requests_per_second=1e6)
        spec = example_spec(Path(folder), platform.url, plan=plan, session=session)
        spec.control.directory.mkdir()
        with LeaseHolder(LeaseFile(spec.control.lease), lambda: True):
            return measure_loop("virtual-users", str(write_spec(spec)), {})


def measure_paced(platform: RunningPlatform) -> tuple[float, float, float]:
    """Requests per second, per CPU-second, and resident MiB of the worker of a paced session."""
    with tempfile.TemporaryDirectory() as folder:
        plan = example_plan(max_requests_per_second=1e6)
        run_session(
            example_session(users={"A": PACED_USERS}, pace_s=PACED_PACE_S, warmup_s=1.0, soak_s=8.0),
            plan=plan,
            provisioned=provisioned_for(plan),
            run_dir=Path(folder),
            gateway_url=platform.url,
            environment=ENVIRONMENT,
            still_wanted=lambda: True,
        )
        lines, _ = read_lines(Path(folder) / "control" / "generator-soak-0.jsonl")
    rates = [
        ((after.figures["sent"] - before.figures["sent"]) / ((after.time_us - before.time_us) / 1e6), after)
        for before, after in itertools.pairwise(lines)
    ]
    rate, line = max(rates, key=lambda item: item[0])
    return rate, rate / line.figures["cpu_share"], line.figures["rss_bytes"] / 2**20


def main() -> None:
    """Prints the figures."""
    plan = example_plan()
    behaviour = msgspec.structs.replace(behaviour_for(plan), service_s=0.0)
    with running_platform(behaviour) as platform:
        token = platform.open_token()
        bare = measure_loop("bare", platform.url, {"BENCH_TOKEN": token})
        print(f"bare FastHttpUser loop        {bare:8.0f} requests per CPU-second")
        for name, mix in (("executions only", EXECUTED_ONLY), ("standard mix", MIX)):
            ours = measure_virtual_users(platform, dict(mix))
            print(f"virtual users, {name:16}{ours:7.0f} requests per CPU-second ({ours / bare:.2f} x)")
        bare_paced = measure_loop("paced", platform.url, {"BENCH_TOKEN": token})
        print(f"paced FastHttpUser            {bare_paced:8.0f} requests per CPU-second")
        rate, paced, rss_mib = measure_paced(platform)
        print(f"paced session, standard mix   {paced:8.0f} requests per CPU-second ({paced / bare_paced:.2f} x)")
        print(f"                              at {rate:.0f} requests/s, worker {rss_mib:.0f} MiB")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bare", url]:
            bare_fast_http_user(url)
        case ["paced", url]:
            paced_fast_http_user(url)
        case ["virtual-users", spec]:
            virtual_users(Path(spec))
        case _:
            main()
