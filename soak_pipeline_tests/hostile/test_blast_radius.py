"""Load goes to the hosts that a target file names, not faster than it allows, and nowhere else."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest

from soak_pipeline.evidence.run_folder import RunFolder
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.control import LoadSpec
from soak_pipeline.load.sender.client import Connection, Reaper, connection_to
from soak_pipeline.load.sender.runtime import LoadRuntime
from soak_pipeline.model.errors import BadInput, LoadRefused
from soak_pipeline.model.plan import Plan, at_size, peak_load, soak_session
from soak_pipeline.model.profile import scaled
from soak_pipeline.model.request import SoakRequest
from soak_pipeline.model.target import Target
from soak_pipeline.stages.context import StageContext
from soak_pipeline.stages.load_session import claim_target
from soak_pipeline.stages.provision import provision
from soak_pipeline.stages.target_lock import release_target
from soak_pipeline.target.addresses import addresses_of
from soak_pipeline.target.config import load_target, refuse_beyond_caps
from soak_pipeline_tests.hostile.server import answering, hostile, response
from soak_pipeline_tests.load.example_run import RUN_ID, example_plan, provisioned_for
from soak_pipeline_tests.policies import default_thresholds, plan_by, profile_of

TARGET = "name: blast-radius\ngateway_url_env: T_GATEWAY\nadmin_email_env: T_EMAIL\nadmin_password_env: T_PASSWORD\n"
OK = response(b'{"status": "ok"}')


def _plan(profile: str, **target: object) -> Plan:
    return plan_by(
        run_id=RUN_ID,
        profile=profile_of(profile),
        target=msgspec.structs.replace(Target(name="t", gateway_url="http://h"), **target),
        thresholds=default_thresholds(),
        seed=1,
    )


def test_the_peak_is_that_of_the_busiest_session() -> None:
    # smoke: 100 users, one request per second each; its burst has 4 x 30 + 50 users, each two requests per second.
    assert peak_load(_plan("smoke")) == (170, 340.0)
    # nightly: 1,000 users, one request each 2 s; its burst has 4 x 20 + 100 users, two requests per second each.
    assert peak_load(_plan("nightly")) == (1000, 500.0)


def test_a_plan_at_the_caps_is_allowed_and_one_beyond_is_refused() -> None:
    refuse_beyond_caps(_plan("nightly", max_users=1000, max_requests_per_second=500.0))
    with pytest.raises(LoadRefused) as caught:
        refuse_beyond_caps(_plan("nightly", max_users=999, max_requests_per_second=499.0))
    assert caught.value.problems == (
        "the plan has up to 1,000 virtual users at a time, the target allows 999 (max_users)",
        "the plan sends up to 500 requests/s, the target allows 499 (max_requests_per_second)",
        "level nightly fits with --scale 0.99; or give the policy a level of that size",
    )


@pytest.mark.parametrize(
    ("caps", "advice"),
    [
        ({"max_users": 4}, "level smoke fits at no scale down to 0.01: give the policy a level with fewer users"),
        ({"max_users": 20}, "level smoke fits with --scale 0.11"),
        ({"max_users": 40}, "level smoke fits with --scale 0.24"),
        ({"max_requests_per_second": 40.0}, "level smoke fits with --scale 0.11"),
    ],
)
def test_the_advice_about_a_smaller_load_works(caps: dict[str, Any], advice: str) -> None:
    with pytest.raises(LoadRefused) as caught:
        refuse_beyond_caps(_plan("smoke", **caps))
    assert caught.value.problems[-1].startswith(advice)
    if scale := re.search(r"--scale ([\d.]+)", advice):
        plan = _plan("smoke", **caps)
        refuse_beyond_caps(at_size(plan, scaled(plan.profile, float(scale[1]))))


def test_more_than_the_profiles_own_cap_is_refused_before_it_is_throttled() -> None:
    crowded = msgspec.structs.replace(profile_of("smoke"), users=2_001)
    plan = msgspec.structs.replace(_plan("smoke"), profile=crowded)
    plan = plan_by(run_id=RUN_ID, profile=crowded, target=plan.target, thresholds=default_thresholds(), seed=1)
    with pytest.raises(LoadRefused, match=r"2,001 requests/s, the profile allows 2,000"):
        refuse_beyond_caps(plan)


def test_a_target_lowers_the_hard_cap_and_never_raises_it() -> None:
    assert _plan("smoke", max_requests_per_second=10.0).requests_per_second_max == 10.0
    assert _plan("smoke", max_requests_per_second=1e9).requests_per_second_max == 2_000.0
    assert _plan("smoke").requests_per_second_max == 2_000.0


@pytest.mark.parametrize(
    "line",
    [
        "max_users: 0",
        "max_users: 1.5",
        "max_users: yes",
        "max_users: 100000",
        "max_requests_per_second: 0",
        "max_requests_per_second: -1",
        "max_requests_per_second: .nan",
        "max_requests_per_second: .inf",
        "max_requests_per_second: fast",
    ],
)
def test_a_cap_is_a_number_in_its_range(tmp_path: Path, line: str) -> None:
    path = tmp_path / "target.yaml"
    path.write_text(f"{TARGET}load_hosts: [h]\n{line}\n")
    with pytest.raises(BadInput, match=line.split(":")[0]):
        load_target(path)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Callable[..., StageContext]]:
    """A stage of a run, with a target file and an environment."""
    made: list[StageContext] = []

    def stage(**environment: str) -> StageContext:
        context = StageContext(
            folder=RunFolder(tmp_path / "reports", RUN_ID),
            environment={"SOAK_STATE_DIR": str(tmp_path / "state"), "T_EMAIL": "e", "T_PASSWORD": "p", **environment},
            still_wanted=lambda: True,
            on_progress=lambda progress: None,
            log=lambda line: None,
        )
        made.append(context)
        return context

    yield stage
    for context in made:
        release_target("blast-radius", context.environment)


def _request(tmp_path: Path, lines: str, **fields: str) -> SoakRequest:
    path = tmp_path / "target.yaml"
    path.write_text(TARGET + lines)
    return SoakRequest(target_path=str(path), **fields)


@pytest.mark.parametrize(
    ("lines", "fields", "reason"),
    [
        ("load_hosts: [127.0.0.1]", {}, "allow_load"),
        ("load_hosts: [other.example]\nallow_load: true", {}, "not one that the file names"),
        ("load_hosts: [127.0.0.1]\nallow_load: true\nproduction: true", {}, "production"),
        (
            "load_hosts: [127.0.0.1]\nallow_load: true\nproduction: true",
            {"confirm_production": "blast_radius"},
            "production",
        ),
        ("load_hosts: [127.0.0.1]\nallow_load: true\nmax_users: 10", {}, "max_users"),
    ],
)
def test_no_way_into_a_run_sends_anything_where_it_may_not(
    tmp_path: Path, staged: Callable[..., StageContext], lines: str, fields: dict[str, str], reason: str
) -> None:
    """Provisioning is the first step of every run: of a terminal's, a form's, the schedule's and a sensor's."""
    with hostile(answering(OK)) as server:
        with pytest.raises(LoadRefused, match=reason):
            provision(staged(T_GATEWAY=server.url), _request(tmp_path, lines, **fields))
        assert server.connections == 0
    assert not (tmp_path / "reports" / "soak").exists()


def test_an_environment_that_changed_sends_no_load_elsewhere(
    tmp_path: Path, staged: Callable[..., StageContext]
) -> None:
    context = staged(T_GATEWAY="http://other.example")
    path = tmp_path / "target.yaml"
    path.write_text(f"{TARGET}load_hosts: [127.0.0.1]\nallow_load: true\n")
    plan = plan_by(
        run_id=RUN_ID, profile=profile_of("smoke"), target=load_target(path), thresholds=default_thresholds(), seed=1
    )
    context.folder.write_plan(plan)
    with pytest.raises(LoadRefused, match=r"other\.example"):
        claim_target(context)


def test_an_unknown_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(BadInput, match=r"'nowhere\.example' has no address: Name or service not known"):
        addresses_of("https://nowhere.example/acp")


def test_every_address_of_a_name_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        (socket.AF_INET6, 1, 6, "", ("2001:db8::1", 443, 0, 0)),
        (socket.AF_INET, 1, 6, "", ("192.0.2.1", 443)),
        (socket.AF_INET, 1, 6, "", ("192.0.2.1", 443)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    assert addresses_of("https://acp.example") == ("2001:db8::1", "192.0.2.1")


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    reaper = Reaper()
    greenlet = gevent.spawn(reaper.run)
    made: list[Connection] = []

    def make(url: str, *addresses: str) -> Connection:
        made.append(connection_to(authority_of(url)._replace(addresses=addresses), 5.0, reaper))
        return made[-1]

    yield make
    for connection in made:
        connection.close()
    greenlet.kill()


def test_load_goes_to_the_addresses_of_the_runs_begin(connect: Callable[..., Connection]) -> None:
    """The name leads nowhere any more; the run goes on where it began."""
    with hostile(answering(OK)) as server:
        reply = connect(f"http://gateway.invalid:{server.port}", "127.0.0.1").exchange(b"GET / HTTP/1.1\r\n\r\n")
    assert reply.status == 200


def test_an_address_that_is_gone_is_passed_over(connect: Callable[..., Connection]) -> None:
    with hostile(answering(OK)) as server:
        for _ in range(2):
            connection = connect(f"http://gateway.invalid:{server.port}", "127.0.0.2", "127.0.0.1")
            assert connection.exchange(b"GET / HTTP/1.1\r\n\r\n").status == 200
        assert server.connections == 2


def test_the_load_takes_addresses_and_cap_from_the_run(tmp_path: Path) -> None:
    plan = example_plan()
    plan = msgspec.structs.replace(plan, target=msgspec.structs.replace(plan.target, max_requests_per_second=30.0))
    provisioned = msgspec.structs.replace(provisioned_for(plan), gateway_addresses=("192.0.2.7",))
    spec = LoadSpec(
        session=soak_session(plan),
        fanout=False,
        plan=plan,
        provisioned=provisioned,
        run_dir=str(tmp_path),
        gateway_url="http://gateway.example",
        workers=3,
    )
    runtime = LoadRuntime(spec, 0, plan.requests_per_second_max / spec.workers)
    assert runtime.authority.addresses == ("192.0.2.7",)
    assert runtime.authority.host_header == "gateway.example"
