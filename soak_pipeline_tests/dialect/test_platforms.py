"""Every dialect is whole: nothing that the package asks of one is missing."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import msgspec
import pytest

from soak_pipeline import PROJECT_ROOT
from soak_pipeline.dialect.dialect import Dialect
from soak_pipeline.dialect.registry import dialect_names, dialect_of
from soak_pipeline.load.sender.schedule import PAYLOAD_VARIANTS
from soak_pipeline.model.plan import TOOLS
from soak_pipeline.model.target import DEFAULT_DIALECT, DatabaseNames, StopLever, Target
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation


@pytest.fixture(params=dialect_names())
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return dialect_of(Target(name="x", dialect=request.param))


def test_the_default_is_the_first() -> None:
    assert dialect_names()[0] == DEFAULT_DIALECT


def test_a_dialect_is_one_value() -> None:
    assert dialect_of(Target(name="x")) is dialect_of(Target(name="y"))
    with pytest.raises(FrozenInstanceError):
        dialect_of(Target(name="x")).verify_command = ""  # type: ignore[misc]


def test_the_target_file_has_the_last_word_on_the_path() -> None:
    changed = dialect_of(Target(name="x", execute_path="/run"))
    assert changed.execution.path == "/run"
    assert changed.execute("t", {}).headers == {"X-ACP-Tool": "t"}
    assert dialect_of(Target(name="x")).execution.path == "/execute/{tool}"


def test_only_the_deployed_platform_lets_new_tenants_observe() -> None:
    observing = {
        name for name in dialect_names() if dialect_of(Target(name="x", dialect=name)).provisioning.new_tenants_observe
    }
    assert observing == {"deployed"}


def test_every_operation_has_its_answer(dialect: Dialect) -> None:
    assert set(dialect.answers) == set(Operation)


def test_every_read_and_attack_has_its_request(dialect: Dialect) -> None:
    reads = {operation for operation in Operation if KIND_OF[operation] in (Kind.READ, Kind.VERIFY)}
    assert set(dialect.reads) == reads
    assert set(dialect.execution.attacks) == {op for op in Operation if KIND_OF[op] is Kind.DENIED}
    assert set(dialect.execution.benign) == set(TOOLS)


def test_the_payloads_of_an_attack_are_used_alike(dialect: Dialect) -> None:
    assert all(PAYLOAD_VARIANTS % len(payloads) == 0 for payloads in dialect.execution.attacks.values())


def test_every_database_and_lever_is_known(dialect: Dialect) -> None:
    assert set(dialect.tables) == {field.name for field in msgspec.structs.fields(DatabaseNames)}
    assert set(dialect.provisioning.status_when_blocked) == set(StopLever)


def test_names_in_paths_are_filled_in(dialect: Dialect) -> None:
    words = dialect.provisioning
    requests = [words.revoke("a-1", "r-1"), words.engage_kill_switch("t-1"), words.list_permissions("a-1")]
    assert not any(re.search(r"[{}]", request.path) for request in requests)


def test_the_documentation_names_every_dialect() -> None:
    (row,) = [
        line
        for line in (PROJECT_ROOT / "docs" / "target_file.md").read_text().splitlines()
        if line.startswith("| `dialect`")
    ]
    assert all(f"`{name}`" in row for name in dialect_names())
