"""The list of faults, and what a process makes of those that it is given."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.acp import faults
from infra.acp.__main__ import ROLES

ACP = Path(faults.__file__).parent
EVENTS = [str(uuid.uuid4()) for _ in range(20_000)]


@pytest.fixture(autouse=True)
def none_set() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


def fault(name: str, **parameters: object) -> faults.FaultValues:
    faults.set_faults({name: parameters})
    found = faults.active(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", sorted(faults.FAULTS))
def test_every_fault_is_well_formed(name: str) -> None:
    entry = faults.FAULTS[name]
    assert entry.name == name
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name)
    assert entry.roles
    assert set(entry.roles) <= set(ROLES)
    assert entry.summary
    # The defaults are within the ranges.
    assert faults.checked(name, entry.parameters).items() >= dict(entry.parameters).items()


def test_no_parameter_is_described_that_no_fault_has() -> None:
    used = {key for entry in faults.FAULTS.values() for key in entry.parameters}
    assert set(faults.PARAMETERS) == used | {"after_s", "set_at"}


def test_nothing_is_active_until_it_is_set_and_after_it_is_cleared() -> None:
    assert all(faults.active(name) is None for name in faults.FAULTS)
    faults.set_faults({"latency_step": {"share": 0.5}, "clock_off": {}})
    step, clock = faults.active("latency_step"), faults.active("clock_off")
    assert step is not None
    assert clock is not None
    assert (step["share"], step["latency_ms"], step.text("tenant"), clock["offset_s"]) == (
        0.5,
        300.0,
        "tenant B",
        300.0,
    )
    assert faults.active("metrics_gone") is None
    faults.clear("latency_step")
    assert faults.active("latency_step") is None
    assert faults.active("clock_off") is not None
    faults.clear()
    assert faults.active("clock_off") is None


def test_a_fault_begins_when_it_says() -> None:
    faults.set_faults({"metrics_gone": {"after_s": 3_600}})
    assert faults.active("metrics_gone") is None
    faults.set_faults({"metrics_gone": {"after_s": 3_600, "set_at": time.time() - 3_601}})
    later = faults.active("metrics_gone")
    assert later is not None
    assert 1 <= later.elapsed_s < 60


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("no_such", {}, r"fault 'no_such' is unknown, must be one of allowed_denied, "),
        ("latency_step", {"speed": 1}, r"has no parameter 'speed', must be one of after_s, latency_ms, share, tenant"),
        ("latency_step", {"share": 1.01}, r"latency_step: share is 1.01, must be a number from 0 to 1 \(share\)"),
        ("latency_step", {"share": "many"}, r"share is 'many', must be a number"),
        ("latency_step", {"share": math.nan}, r"share is nan, must be a number"),
        ("latency_step", {"share": True}, r"share is True, must be a number"),
        ("latency_step", {"tenant": "a;b"}, r"tenant is 'a;b', must be a text without"),
        ("latency_step", {"tenant": 3}, r"tenant is 3, must be a text"),
        ("latency_step", {"share": 2, "latency_ms": -1}, r"share is 2.*; .*latency_ms is -1"),
    ],
)
def test_what_is_not_allowed_is_said_with_what_is(name: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(faults.FaultError, match=message):
        faults.set_faults({"metrics_gone": {}, name: parameters})
    assert faults.all_set() == {}


def test_the_environment_names_faults_and_their_parameters() -> None:
    faults.from_environment({"ACP_FAULTS": "latency_step:share=0.5,tenant=tenant D; metrics_gone ;"})
    assert set(faults.all_set()) == {"latency_step", "metrics_gone"}
    step = faults.active("latency_step")
    assert step is not None
    assert (step["share"], step.tenant) == (0.5, "tenant D")
    faults.clear()
    faults.from_environment({})
    assert faults.all_set() == {}
    with pytest.raises(faults.FaultError, match="'share' is no assignment"):
        faults.from_environment({"ACP_FAULTS": "latency_step:share"})


@given(
    st.sampled_from(sorted(name for name, entry in faults.FAULTS.items() if "share" in entry.parameters)),
    st.floats(0, 1),
    st.floats(0, 86_400),
)
def test_what_is_written_for_a_process_is_read_back_the_same(name: str, share: float, after_s: float) -> None:
    values = faults.checked(name, {"share": share, "after_s": after_s})
    assert faults.parse(
        faults.as_text({name: values, "metrics_gone": faults.checked("metrics_gone", {"set_at": 5})})
    ) == {
        name: values,
        "metrics_gone": {"after_s": 0.0, "set_at": 5.0},
    }


def test_a_process_is_told_only_of_faults_of_its_role() -> None:
    chosen = {name: faults.checked(name, {}) for name in ("growing_queue", "latency_step", "dead_letter")}
    assert set(faults.of_role(chosen, "gateway")) == {"latency_step"}
    assert set(faults.of_role(chosen, "flight")) == {"growing_queue"}
    assert faults.of_role(chosen, "graph") == {}


def test_a_share_of_the_events_is_hit_and_always_the_same_ones() -> None:
    some = fault("attack_allowed", share=0.1)
    hit = [event for event in EVENTS if some.picks(event)]
    # 20 000 draws of 0.1: six standard deviations are 255.
    assert 2_000 - 255 < len(hit) < 2_000 + 255
    assert hit == [event for event in EVENTS if faults.hits("attack_allowed", event)]
    assert not any(fault("attack_allowed", share=0.0).picks(event) for event in EVENTS)
    assert all(fault("attack_allowed", share=1.0).picks(event) for event in EVENTS)
    # Another fault of the same share hits others: both together hit a hundredth.
    other = fault("allowed_denied", share=0.1)
    assert sum(other.picks(event) for event in hit) < 400


def test_a_tenant_is_named_by_a_fragment_of_its_name_or_by_its_id() -> None:
    ids = {name: str(uuid.uuid4()) for name in ("soak 1 tenant A", "soak 1 tenant B", "soak 2 Tenant b")}
    by_name = fault("latency_step", tenant="TENANT B", share=1.0)
    assert not any(by_name.concerns(tenant_id) for tenant_id in ids.values())
    faults.find_tenants(lambda: {tenant_id: name for name, tenant_id in ids.items()})
    assert [by_name.concerns(tenant_id) for tenant_id in ids.values()] == [False, True, True]
    assert not by_name.picks("event", ids["soak 1 tenant A"])
    assert by_name.picks("event", ids["soak 1 tenant B"])
    by_id = fault("latency_step", tenant=ids["soak 1 tenant A"].upper())
    assert [by_id.concerns(tenant_id) for tenant_id in ids.values()] == [True, False, False]
    everyone = fault("latency_step", tenant="")
    assert all(everyone.concerns(tenant_id) for tenant_id in ids.values())


def test_names_are_looked_up_only_for_a_fault_that_has_one() -> None:
    faults.set_faults({"latency_step": {"tenant": str(uuid.uuid4())}, "attack_allowed": {}, "metrics_gone": {}})

    def unexpected() -> dict[str, str]:
        raise AssertionError("nobody names a tenant")

    faults.find_tenants(unexpected)


def test_bursts_come_at_the_end_of_each_period() -> None:
    def at(seconds: float) -> faults.FaultValues:
        return fault("errors_5xx", every_s=100, burst_s=30, set_at=time.time() - seconds)

    assert [at(seconds).is_bursting() for seconds in (0, 60, 75, 95, 105, 175)] == [
        False,
        False,
        True,
        True,
        False,
        True,
    ]
    assert at(60).burst_left_s() == 0
    assert 20 < at(75).burst_left_s() <= 25


def test_every_so_many_requests_it_is_one_ones_turn() -> None:
    leak = fault("gateway_fd_leak", per_requests=3)
    assert [leak.is_turn() for _ in range(7)] == [False, False, True, False, False, True, False]


def test_it_is_due_once_a_period_and_not_at_once() -> None:
    killed = fault("gateway_killed", every_s=10)
    answers = [killed.is_due(now) for now in (1_000.0, 1_009.0, 1_010.0, 1_010.1, 1_019.9, 1_020.1)]
    assert answers == [False, False, True, False, False, True]


def test_every_fault_bites_somewhere() -> None:
    code = "".join(path.read_text() for path in ACP.rglob("*.py") if path.name != "faults.py")
    assert [name for name in faults.FAULTS if f'"{name}"' not in code] == []


def test_the_documentation_lists_them_as_they_are() -> None:
    """`python -m infra.acp fault list --markdown` prints what belongs between the marks."""
    readme = (ACP.parent / "README.md").read_text()
    documented = readme.split("<!-- faults: begin -->\n")[1].split("<!-- faults: end -->")[0]
    assert documented == faults.as_markdown()
