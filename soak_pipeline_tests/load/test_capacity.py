"""What the machine carries, measured on a small platform over real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import msgspec
import pytest

from soak_pipeline.evidence.own_process import module_command, module_environment
from soak_pipeline.load.capacity import CapacityProbe, NotMeasured, measure_capacity
from soak_pipeline.model.sizing import MEASURING_S
from soak_pipeline.model.target import Target
from soak_pipeline_tests.load.example_run import RUN_ID
from soak_pipeline_tests.load.small_platform import Behaviour, RunningPlatform, running_platform

TENANT = "7d0c7cf4-5b5f-5a3c-8f0e-3a1c1f6f0001"


def probe(platform: RunningPlatform, **changes: object) -> CapacityProbe:
    values: dict[str, object] = {
        "gateway_url": platform.url,
        "addresses": (),
        "target": Target(name="x"),
        "tenant_id": TENANT,
        "agent_id": "good-1",
        "token": platform.open_token(),
        "requests_per_second_max": 2_000.0,
        "timeout_s": 5.0,
        "users": 8,
        "alone_s": 0.4,
        "settle_s": 0.1,
        "measure_s": 0.6,
    }
    return CapacityProbe(**{**values, **changes})  # type: ignore[arg-type]


def behaviour(**changes: object) -> Behaviour:
    return msgspec.structs.replace(Behaviour(run_id=RUN_ID, tenants={"A": TENANT}, service_s=0.02), **changes)


def test_calls_are_counted_and_every_one_was_sent() -> None:
    with running_platform(behaviour()) as platform:
        capacity = measure_capacity(probe(platform), os.environ)
        sent = platform.seen()["seen"]["POST /execute/read_file"]
        assert platform.seen()["duplicate_request_ids"] == 0
    assert 0 < capacity.requests <= sent
    assert capacity.failed == 0
    # A call takes 20 ms at least, so that eight callers make no more than 400 a second.
    assert capacity.requests_per_second <= 8 / 0.02 * 1.1


def test_callers_who_never_waited_for_each_other_show_at_least_so_much() -> None:
    with running_platform(behaviour(service_s=0.2)) as platform:
        assert measure_capacity(probe(platform, users=2), os.environ).at_cap


def test_a_cap_holds_and_is_said() -> None:
    with running_platform(behaviour(service_s=0.0)) as platform:
        capacity = measure_capacity(probe(platform, requests_per_second_max=40.0), os.environ)
    assert capacity.at_cap
    # One slot every 25 ms in 0.6 s are 24; the edges may add one.
    assert capacity.requests <= 25


def test_the_number_of_calls_is_bounded() -> None:
    with running_platform(behaviour(service_s=0.0)) as platform:
        measure_capacity(probe(platform, requests_most=17), os.environ)
        assert platform.seen()["seen"]["POST /execute/read_file"] == 17


def test_refused_calls_are_no_capacity() -> None:
    with running_platform(behaviour()) as platform:
        capacity = measure_capacity(probe(platform, agent_id="bad-1"), os.environ)
    assert capacity.requests == 0
    assert capacity.failed > 0


def test_a_process_that_gives_no_result_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soak_pipeline.load.capacity.module_command", lambda *_: ["/bin/false"])
    with running_platform(behaviour()) as platform, pytest.raises(NotMeasured, match="ended with 1 and without"):
        measure_capacity(probe(platform), os.environ)


def test_it_ends_with_its_parent() -> None:
    """Its parent, a shell, is killed in the middle; nothing is sent any more soon after."""
    with running_platform(behaviour()) as platform:
        command = " ".join(module_command("soak_pipeline.load.sender.measure"))
        parent = subprocess.Popen(
            ["/bin/sh", "-c", f"{command}; true"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=module_environment(os.environ),
        )
        assert parent.stdin is not None
        parent.stdin.write(msgspec.json.encode(probe(platform, measure_s=60.0, requests_most=1_000_000)) + b"\n")
        parent.stdin.flush()
        while not platform.seen()["seen"].get("POST /execute/read_file"):
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdin.close()
        _wait_until_silent(platform)


def _wait_until_silent(platform: RunningPlatform) -> None:
    """Until a second has passed without a request; the test's own time limit ends the wait otherwise."""
    before = -1
    while (now := platform.seen()["total"]) != before:
        before = now
        time.sleep(1.0)


def test_the_token_is_in_no_representation() -> None:
    with running_platform(behaviour()) as platform:
        assert probe(platform).token not in repr(probe(platform))


def test_a_measurement_is_a_few_seconds() -> None:
    assert MEASURING_S <= 5.0
