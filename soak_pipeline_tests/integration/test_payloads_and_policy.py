"""The load's payloads against the reference platform's own rules: every attack is one, and no benign call is."""

from __future__ import annotations

import json

import pytest

from infra.acp.gateway.policy import assess
from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.sender.operations import Catalogue
from soak_pipeline.load.sender.schedule import PAYLOAD_VARIANTS
from soak_pipeline.model.plan import TOOLS
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation
from soak_pipeline_tests.load.example_run import example_plan, provisioned_for

TENANTS = provisioned_for(example_plan()).tenants
CATALOGUE = Catalogue(authority_of("http://127.0.0.1"), nominal.DIALECT, TENANTS[0], TENANTS[1].tenant_id)


def is_refused(operation: Operation, tool: int, variant: int) -> bool:
    body = CATALOGUE.template(operation, 0, tool, variant).tail[4:].decode()
    return assess(body, json.loads(body), TENANTS[0].tenant_id).refusal is not None


@pytest.mark.parametrize("operation", [operation for operation in Operation if KIND_OF[operation] is Kind.DENIED])
@pytest.mark.parametrize("variant", range(PAYLOAD_VARIANTS))
def test_every_attack_is_refused(operation: Operation, variant: int) -> None:
    assert is_refused(operation, 0, variant)


@pytest.mark.parametrize("tool", range(len(TOOLS)))
@pytest.mark.parametrize("variant", range(PAYLOAD_VARIANTS))
def test_no_benign_call_is_refused(tool: int, variant: int) -> None:
    assert not is_refused(Operation.EXECUTE, tool, variant)
