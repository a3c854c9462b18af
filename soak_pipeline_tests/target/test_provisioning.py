from __future__ import annotations

import httpx
import pytest

from soak_pipeline.model.errors import TargetFailed
from soak_pipeline.model.plan import TOOLS
from soak_pipeline.model.target import StopLever
from soak_pipeline.target import accounts
from soak_pipeline.target.gateway import Gateway
from soak_pipeline.target.provisioning import provision
from soak_pipeline_tests.target import examples
from soak_pipeline_tests.target.small_platform import SmallPlatform

PLAN = examples.plan()


def test_everything_that_the_plan_needs_is_created() -> None:
    platform = SmallPlatform()
    tenants = provision(examples.resolved(), PLAN, transport=platform.transport)
    assert [tenant.name for tenant in tenants] == ["A", "B", "C", "D", "E"]
    assert [len(tenant.fanout_agents) for tenant in tenants] == [0, 3, 0, 0, 0]
    for planned, tenant in zip(PLAN.tenants, tenants, strict=True):
        agents = tenant.benign_agents + tenant.attack_agents + tenant.fanout_agents
        assert tenant.tenant_id == planned.tenant_id
        assert len(tenant.benign_agents) == len(tenant.attack_agents) == 2
        assert set(agents) == set(platform.agents[planned.tenant_id].values())
        for agent in agents:
            assert {tool for tool, rule in platform.permissions[agent].items() if rule["action"] == "ALLOW"} == set(
                TOOLS
            )
        limits = platform.tenants[planned.tenant_id]
        assert limits["rpm_limit"] == planned.rpm_limit
        assert limits["requests_per_second"] * 60 >= planned.rpm_limit
        assert tenant.user_email in platform.users
    assert len({agent for tenant in tenants for agent in tenant.benign_agents + tenant.attack_agents}) == 20


def test_provisioning_again_finds_everything_and_creates_nothing() -> None:
    platform = SmallPlatform()
    first = provision(examples.resolved(), PLAN, transport=platform.transport)
    created = platform.calls["POST /agents"]
    assert provision(examples.resolved(), PLAN, transport=platform.transport) == first
    assert platform.calls["POST /agents"] == created


def test_provisioning_repairs_what_is_missing_or_denied() -> None:
    platform = SmallPlatform()
    first = provision(examples.resolved(), PLAN, transport=platform.transport)
    agent, other = first[0].benign_agents
    platform.permissions[agent][TOOLS[0]]["action"] = "DENY"
    del platform.permissions[other][TOOLS[1]]
    platform.tenants[first[0].tenant_id]["rpm_limit"] = 0
    assert provision(examples.resolved(), PLAN, transport=platform.transport) == first
    assert platform.permissions[agent][TOOLS[0]]["action"] == "ALLOW"
    assert platform.permissions[other][TOOLS[1]]["action"] == "ALLOW"
    assert platform.tenants[first[0].tenant_id]["rpm_limit"] == PLAN.tenants[0].rpm_limit


def test_a_provisioned_run_holds_no_secret() -> None:
    platform = SmallPlatform()
    tenants = provision(examples.resolved(), PLAN, transport=platform.transport)
    passwords = {password for password, _ in platform.users.values()}
    assert len(passwords) == 6
    assert not any(password in repr(tenants) for password in passwords)


def test_an_account_of_another_operator_is_not_taken_over() -> None:
    platform = SmallPlatform()
    provision(examples.resolved(), PLAN, transport=platform.transport)
    for email in [email for email in platform.users if email.startswith("soak-")]:
        platform.users[email] = ("another password", "tenant")
    with pytest.raises(TargetFailed, match="could not be created"):
        provision(examples.resolved(), PLAN, transport=platform.transport)


def test_a_platform_that_refuses_ends_provisioning_with_its_reason() -> None:
    platform = SmallPlatform()
    platform.override = lambda request: (
        httpx.Response(503, json={"error": "draining"})
        if request.url.path == "/agents" and request.method == "POST"
        else None
    )
    with pytest.raises(TargetFailed, match=r"POST /agents answered 503 \(draining\), expected 200 or 201 or 409"):
        provision(examples.resolved(), PLAN, transport=platform.transport)


def test_a_long_list_of_agents_is_read_to_its_end() -> None:
    names = {f"agent-{index:04d}": f"id-{index}" for index in range(250)}

    def page(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/agents":
            return None
        start, size = int(request.url.params["offset"]), int(request.url.params["limit"])
        items = [{"name": name, "id": id_} for name, id_ in list(names.items())[start : start + size]]
        return httpx.Response(200, json={"data": items})

    with Gateway(examples.resolved(), transport=SmallPlatform(override=page).transport) as gateway:
        assert accounts.agents_by_name(gateway, "t") == names


def test_a_listing_that_knows_no_pages_is_read_once_more_and_no_further() -> None:
    items = [{"name": f"agent-{index}", "id": str(index)} for index in range(150)]
    platform = SmallPlatform(
        override=lambda request: httpx.Response(200, json={"data": items}) if request.url.path == "/agents" else None
    )
    with Gateway(examples.resolved(), transport=platform.transport) as gateway:
        assert len(accounts.agents_by_name(gateway, "t")) == 150


def test_the_kill_switch_of_an_earlier_teardown_is_released() -> None:
    target = examples.with_lever(StopLever.KILL_SWITCH)
    plan = examples.plan(target)
    platform = SmallPlatform(killed={tenant.tenant_id for tenant in plan.tenants})
    provision(examples.resolved(target), plan, transport=platform.transport)
    assert platform.killed == set()


def test_a_revoked_permission_can_be_granted_again() -> None:
    platform = SmallPlatform()
    tenants = provision(examples.resolved(), PLAN, transport=platform.transport)
    tenant_id, agent = tenants[1].tenant_id, tenants[1].fanout_agents[0]
    with Gateway(examples.resolved(), transport=platform.transport) as gateway:
        accounts.revoke(gateway, tenant_id, agent, TOOLS[0])
        accounts.revoke(gateway, tenant_id, agent, TOOLS[0])
        assert TOOLS[0] not in platform.permissions[agent]
        accounts.grant(gateway, tenant_id, agent, TOOLS[0])
        accounts.grant(gateway, tenant_id, agent, TOOLS[0])
    assert platform.permissions[agent][TOOLS[0]]["action"] == "ALLOW"
