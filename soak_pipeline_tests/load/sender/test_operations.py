"""What each operation puts on the wire."""

from __future__ import annotations

import json

import pytest

from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.dialect.registry import dialect_of
from soak_pipeline.dialect.requests import Request
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.sender.operations import Catalogue, Template, render
from soak_pipeline.load.sender.schedule import PAYLOAD_VARIANTS
from soak_pipeline.model.plan import TOOLS
from soak_pipeline.model.target import Target
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation
from soak_pipeline_tests.load.example_run import example_plan, provisioned_for

TENANT = provisioned_for(example_plan()).tenants[0]
OTHER = "11111111-2222-4333-8444-555555555555"
SCHEDULED = [operation for operation in Operation if KIND_OF[operation] is not Kind.AUTH]


def catalogue(dialect: Dialect = nominal.DIALECT) -> Catalogue:
    return Catalogue(authority_of("http://127.0.0.1:8000/acp/"), dialect, TENANT, OTHER)


def head_of(template: Template) -> str:
    return template.head.decode()


def body_of(template: Template) -> bytes:
    assert template.tail.startswith(b"\r\n\r\n")
    return template.tail[4:]


@pytest.mark.parametrize("operation", SCHEDULED)
def test_every_request_is_well_formed(operation: Operation) -> None:
    template = catalogue().template(operation, 3, 1, 5)
    head, body = head_of(template), body_of(template)
    lines = head.split("\r\n")
    method, path, version = lines[0].split(" ")
    assert method in ("GET", "POST")
    assert path.startswith("/acp/")
    assert version == "HTTP/1.1"
    assert head.endswith("\r\n")
    assert "Host: 127.0.0.1:8000" in lines
    assert len([line for line in lines if line.startswith("User-Agent: ")]) == 1
    if method == "POST":
        assert f"Content-Length: {len(body)}" in lines
        json.loads(body)
    else:
        assert body == b""


def test_a_benign_call_names_tool_and_agent() -> None:
    template = catalogue().template(Operation.EXECUTE, 1, 2, 0)
    assert head_of(template).startswith("POST /acp/execute/list_dir HTTP/1.1\r\n")
    assert f"X-Agent-ID: {TENANT.benign_agents[1]}\r\n" in head_of(template)
    assert "path" in json.loads(body_of(template))["parameters"]


def test_without_a_place_in_the_path_the_tool_goes_in_a_header() -> None:
    template = catalogue(dialect_of(Target(name="x", execute_path="/execute"))).template(Operation.EXECUTE, 0, 0, 0)
    assert head_of(template).startswith("POST /acp/execute HTTP/1.1\r\n")
    assert "X-ACP-Tool: read_file\r\n" in head_of(template)


@pytest.mark.parametrize("operation", [operation for operation in Operation if KIND_OF[operation] is Kind.DENIED])
def test_attacks_use_attack_agents_and_differ(operation: Operation) -> None:
    templates = [catalogue().template(operation, 0, 0, variant) for variant in range(PAYLOAD_VARIANTS)]
    assert all(f"X-Agent-ID: {TENANT.attack_agents[0]}\r\n" in head_of(template) for template in templates)
    assert len({body_of(template) for template in templates}) == 4


def test_a_cross_tenant_attack_names_the_other_tenant() -> None:
    for variant in range(PAYLOAD_VARIANTS):
        assert OTHER in body_of(catalogue().template(Operation.ATTACK_CROSS_TENANT, 0, 0, variant)).decode()


def test_no_benign_call_names_an_attack_agent() -> None:
    for agent in range(10):
        for tool in range(len(TOOLS)):
            head = head_of(catalogue().template(Operation.EXECUTE, agent, tool, 0))
            assert not any(hostile in head for hostile in TENANT.attack_agents)


def test_requests_without_a_valid_token_name_no_tenant_and_no_agent() -> None:
    bad = catalogue().template(Operation.MISC_BAD_TOKEN, 0, 0, 0)
    none = catalogue().template(Operation.MISC_NO_TOKEN, 0, 0, 0)
    assert not bad.with_token
    assert not none.with_token
    assert f"Authorization: Bearer {nominal.DIALECT.execution.invalid_token}\r\n" in head_of(bad)
    assert "Authorization" not in head_of(none)
    for template in (bad, none):
        assert "X-Tenant-ID" not in head_of(template)
        assert "X-Agent-ID" not in head_of(template)


def test_an_oversize_body_is_over_the_platforms_limit_and_fits_one_send() -> None:
    assert 10_000 < len(body_of(catalogue().template(Operation.MISC_OVERSIZE, 0, 0, 0))) < 16_000


def test_an_unknown_tool_is_asked_by_an_attack_agent() -> None:
    head = head_of(catalogue().template(Operation.MISC_UNKNOWN_TOOL, 0, 0, 0))
    assert f"/execute/{nominal.DIALECT.execution.unknown_tool} " in head
    assert TENANT.attack_agents[0] in head


def test_a_template_is_rendered_once() -> None:
    requests = catalogue()
    assert requests.template(Operation.EXECUTE, 0, 0, 0) is requests.template(Operation.EXECUTE, 0, 0, 0)


def test_a_rendered_get_has_no_body() -> None:
    template = render(authority_of("http://h"), Request("GET", "/x"))
    assert template.tail == b"\r\n\r\n"
    assert b"Content-Length" not in template.head
