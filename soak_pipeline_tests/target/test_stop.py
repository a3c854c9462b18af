from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from soak_pipeline.model.target import StopLever
from soak_pipeline.target import preflight, stop
from soak_pipeline.target.gateway import Gateway
from soak_pipeline.target.provisioning import provision
from soak_pipeline.target.stop import block_tenants
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.small_platform import SmallPlatform

LEVERS = pytest.mark.parametrize("lever", list(StopLever))
REFUSAL = {StopLever.RPM_LIMIT: "429", StopLever.KILL_SWITCH: "403"}


def _stopped(
    platform: SmallPlatform, lever: StopLever = StopLever.RPM_LIMIT, *, with_agents: bool = True
) -> stop.Silence:
    target = examples.with_lever(lever)
    plan = examples.plan(target)
    provisioned = provision(examples.resolved(target), plan, transport=platform.transport)
    return block_tenants(
        examples.resolved(target), plan, provisioned if with_agents else (), probe_s=0.0, transport=platform.transport
    )


@LEVERS
def test_a_blocked_tenant_is_silent_and_it_is_proven(lever: StopLever) -> None:
    silence = _stopped(SmallPlatform(), lever)
    assert silence.lever is lever
    assert silence.blocked_unix_s is not None
    assert [tenant.name for tenant in silence.tenants] == ["A", "B", "C", "D", "E"]
    for tenant in silence.tenants:
        assert tenant.blocked
        assert (tenant.probe_calls, tenant.probe_allowed, tenant.probe_statuses) == (5, 0, {REFUSAL[lever]: 5})
        assert tenant.reason == ""
    assert len(silence.probe_request_ids) == 5 * 6  # One call of each tenant before the block, five after it.


@LEVERS
def test_blocking_again_and_without_what_was_provisioned_gives_the_same_proof(lever: StopLever) -> None:
    platform = SmallPlatform()
    _stopped(platform, lever)
    target = examples.with_lever(lever)
    again = block_tenants(examples.resolved(target), examples.plan(target), probe_s=0.0, transport=platform.transport)
    assert all(tenant.blocked and tenant.probe_allowed == 0 and tenant.probe_calls == 5 for tenant in again.tenants)
    assert all(tenant.reason == "" for tenant in again.tenants)


@LEVERS
def test_a_lever_without_effect_is_found(lever: StopLever) -> None:
    silence = _stopped(SmallPlatform(honours_levers=False), lever)
    assert all(tenant.blocked and tenant.probe_allowed == 5 for tenant in silence.tenants)


def test_a_refusal_that_was_there_before_the_block_proves_nothing() -> None:
    platform = SmallPlatform()
    plan = examples.plan()
    provisioned = provision(examples.resolved(), plan, transport=platform.transport)
    platform.permissions.clear()
    silence = block_tenants(examples.resolved(), plan, provisioned, probe_s=0.0, transport=platform.transport)
    assert all("before the block too" in tenant.reason for tenant in silence.tenants)


def test_answers_that_are_neither_service_nor_refusal_are_named() -> None:
    platform = SmallPlatform()
    plan = examples.plan()
    provisioned = provision(examples.resolved(), plan, transport=platform.transport)
    served = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.startswith("/execute"):
            return None
        served.append(request)
        return httpx.Response(200, json={}) if len(served) <= 5 else httpx.Response(502, json={})

    platform.override = answer
    silence = block_tenants(examples.resolved(), plan, provisioned, probe_s=0.0, transport=platform.transport)
    assert all(tenant.probe_allowed == 0 and "5 x 502" in tenant.reason for tenant in silence.tenants)


def test_a_platform_that_is_gone_leaves_reasons_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop.time, "sleep", lambda seconds: None)

    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    platform = SmallPlatform(override=gone)
    silence = block_tenants(examples.resolved(), examples.plan(), probe_s=0.0, transport=platform.transport)
    assert silence.blocked_unix_s is None
    for tenant in silence.tenants:
        assert not tenant.blocked
        assert tenant.probe_calls == 0
        assert "not blocked: " in tenant.reason
        assert "not probed: " in tenant.reason


def test_the_lever_is_pulled_again_when_the_platform_falters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop.time, "sleep", lambda seconds: None)
    platform = SmallPlatform()
    plan = examples.plan()
    provisioned = provision(examples.resolved(), plan, transport=platform.transport)
    failures = [httpx.Response(500, json={}) for _ in range(2)]
    platform.override = lambda request: failures.pop() if request.url.path == "/auth/tenants" and failures else None
    silence = block_tenants(examples.resolved(), plan, provisioned, probe_s=0.0, transport=platform.transport)
    assert all(tenant.blocked for tenant in silence.tenants)


def test_a_tenant_that_was_never_provisioned_is_blocked_all_the_same() -> None:
    platform = SmallPlatform()
    silence = block_tenants(examples.resolved(), examples.plan(), probe_s=0.0, transport=platform.transport)
    assert all(tenant.blocked and "not probed" in tenant.reason for tenant in silence.tenants)
    assert all(limits["rpm_limit"] == 0 for limits in platform.tenants.values())


@pytest.mark.parametrize(
    ("by_gateway", "by_database", "lead_s"),
    [
        (300.0, 0.0, 300.0),
        (-300.5, -0.5, -300.0),
        (2.0, 0.0, 0.0),
        (2.1, 0.0, 2.1),
        (None, 0.0, 0.0),
        (300.0, None, 0.0),
    ],
)
def test_the_gateways_clock_counts_where_it_differs_from_the_databases_for_certain(
    monkeypatch: pytest.MonkeyPatch, by_gateway: float | None, by_database: float | None, lead_s: float
) -> None:
    monkeypatch.setattr(preflight, "_gateway_skew_s", lambda gateway: by_gateway)
    monkeypatch.setattr(preflight, "_database_skew_s", lambda resolved: by_database)

    with Gateway(examples.resolved()) as gateway:
        assert preflight.gateway_lead_s(examples.resolved(), gateway) == lead_s


@pytest.mark.parametrize(("lead_s", "later_s"), [(0.0, 0.0), (300.0, 301.0), (-300.0, -299.0)])
def test_the_block_is_dated_by_the_clock_that_rows_bear(
    dsns: dict[str, str], monkeypatch: pytest.MonkeyPatch, lead_s: float, later_s: float
) -> None:
    monkeypatch.setattr(stop, "gateway_lead_s", lambda resolved, gateway: lead_s)
    platform, resolved = SmallPlatform(), examples.resolved(dsns=dsns)
    provisioned = provision(resolved, examples.plan(), transport=platform.transport)
    before = datetime.now(UTC)
    silence = block_tenants(resolved, examples.plan(), provisioned, probe_s=0.0, transport=platform.transport)
    after = datetime.now(UTC)

    assert silence.blocked_at is not None
    assert before <= silence.blocked_at - timedelta(seconds=later_s) <= after
