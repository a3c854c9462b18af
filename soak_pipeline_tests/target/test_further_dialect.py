"""A further dialect is one file: what it says is what the operator, the load and the readers of evidence say."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import httpx
import psycopg
import pytest

from soak_pipeline.dialect import platforms
from soak_pipeline.dialect.registry import dialect_names, dialect_of
from soak_pipeline.load.authority import authority_of
from soak_pipeline.load.sender.classify import classify
from soak_pipeline.load.sender.operations import Catalogue
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.stage_outputs import ProvisionedTenant
from soak_pipeline.model.traffic import Operation, Outcome
from soak_pipeline.target import accounts
from soak_pipeline.target.audit import read_tenant
from soak_pipeline.target.config import load_target
from soak_pipeline.target.gateway import Gateway
from soak_pipeline.target.queues import read_dead_letters
from soak_pipeline_tests.target import examples, rows
from soak_pipeline_tests.target.rows import calls, chain

FILE = '''
"""A platform of another time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from soak_pipeline.dialect.answers import AnswerRule, is_data
from soak_pipeline.dialect.hashing import TreeScheme
from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.dialect.requests import Route
from soak_pipeline.model.traffic import Operation

_BASE = nominal.DIALECT


@dataclass(frozen=True, kw_only=True)
class OlderTree(TreeScheme):
    """An odd node is paired with itself."""

    def root_of(self, subtrees: Sequence[bytes]) -> str:
        top = max((height for height, subtree in enumerate(subtrees) if subtree), default=-1)
        node = b""
        for subtree in subtrees[: top + 1]:
            if subtree is subtrees[top] and not node:
                node = subtree
            elif subtree or node:
                left, right = subtree or node, node or subtree
                node = sha256(left + right).digest()
        return node.hex() if node else self.empty_root


DIALECT = replace(
    _BASE,
    headers=replace(_BASE.headers, tenant="X-Org", agent="X-Actor"),
    tokens=replace(_BASE.tokens, sign_in_route=Route("PUT", "/session"), token_key="jwt"),
    provisioning=replace(_BASE.provisioning, grant_route=Route("PUT", "/actors/{agent_id}/rules"), allow="yes"),
    execution=replace(_BASE.execution, path="/run"),
    answers={**_BASE.answers, Operation.READ_ROOTS: AnswerRule(206, is_data)},
    audit_rows=replace(_BASE.audit_rows, hash_version="NULL::smallint"),
    root_scheme=replace(_BASE.root_scheme, tree=OlderTree(leaf_prefix=b"", node_prefix=b"", empty_root="")),
    queues=replace(_BASE.queues, dead_letters=("other:dead",)),
)
'''
TENANTS = examples.plan().tenants


TARGET = examples.target(dialect="other-2031")


@pytest.fixture(autouse=True)
def _one_more_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_2031.py").write_text(FILE)
    monkeypatch.setattr(platforms, "__path__", [*platforms.__path__, str(tmp_path)])


def test_a_target_file_may_name_it(tmp_path: Path) -> None:
    path = tmp_path / "target.yaml"
    path.write_text("name: other\ndialect: other-2031\ngateway_url: http://127.0.0.1:1\n")
    assert load_target(path).dialect == "other-2031"
    assert "other-2031" in dialect_names()


def test_one_that_has_no_file_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(BadInput, match=r"'strange' is not known .*; known: nominal, deployed, other-2031"):
        dialect_of(examples.target(dialect="strange"))


def test_the_operator_speaks_it() -> None:
    heard: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        # A client that streams needs a response that is not read yet.
        return httpx.Response(200, stream=httpx.ByteStream(b'{"data": {"jwt": "a.b.c"}}'))

    with Gateway(examples.resolved(TARGET), transport=httpx.MockTransport(answer)) as gateway:
        accounts.grant(gateway, "t-1", "actor", "read_file")
    sign_in, grant = heard
    assert (sign_in.method, sign_in.url.path) == ("PUT", "/session")
    assert (grant.method, grant.url.path) == ("PUT", "/actors/actor/rules")
    assert (grant.headers["authorization"], grant.headers["x-org"]) == ("Bearer a.b.c", "t-1")
    assert json.loads(grant.content)["action"] == "yes"


def test_the_load_speaks_it() -> None:
    dialect = dialect_of(TARGET)
    tenant = ProvisionedTenant(
        name="A", tenant_id="t-1", user_email="", benign_agents=("actor",), attack_agents=("bad",)
    )
    template = Catalogue(authority_of("http://h"), dialect, tenant, "t-2").template(Operation.EXECUTE, 0, 0, 0)
    assert template.head.startswith(b"POST /run HTTP/1.1\r\n")
    assert b"X-Actor: actor\r\n" in template.head
    assert b"X-ACP-Tool: read_file\r\n" in template.head
    assert classify(dialect.answers, Operation.READ_ROOTS, 206, b"[]", "") is Outcome.OK


def test_the_readers_of_rows_speak_it(dsns: dict[str, str], tmp_path: Path) -> None:
    """Rows without a version, in a tree that pairs an odd node with itself."""
    tenant = TENANTS[0]
    audit = chain(tenant.tenant_id, [rows.without(call, version=1) for call in calls(3)])
    receipts = dialect_of(TARGET).root_scheme.receipts
    rows.insert_audit(dsns["audit"], tenant.tenant_id, audit)
    leaves = [sha256(receipts.receipt_of(row, tenant.tenant_id)).digest() for row in audit]
    left, right = (sha256(a + b).digest() for a, b in ((leaves[0], leaves[1]), (leaves[2], leaves[2])))
    first, last = audit[0], audit[-1]
    with psycopg.connect(dsns["audit"]) as connection:
        connection.execute(
            "INSERT INTO transparency_roots (tenant_id, root_date, root_hash, leaf_count, signed_root_payload,"
            " leaf_range_start_id, leaf_range_end_id, window_end, signing_key_fingerprint)"
            " VALUES (%s, '2026-11-23', %s, 3, '{}', %s, %s, %s, '')",
            [tenant.tenant_id, sha256(left + right).hexdigest(), first.row_id, last.row_id, last.timestamp],
        )
    evidence = read_tenant(dsns, dialect_of(TARGET), tenant, [])
    assert evidence.chain.independent is not None
    assert (evidence.chain.independent.rows, evidence.chain.independent.tampered) == (3, 0)
    assert [root.root_hash_matches for root in evidence.roots] == [True]


def test_the_readers_of_queues_speak_it(redis_url: str) -> None:
    assert read_dead_letters(examples.resolved(TARGET, redis_url=redis_url)) == {"other:dead": 0}
