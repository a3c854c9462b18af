"""The processes that read audit rows: their answers, and that none of them is left, whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.target import audit_readers
from soak_pipeline.target.audit import read_tenant
from soak_pipeline.target.audit_readers import MODULE, read_tenants
from soak_pipeline_tests.hostile.server import hostile
from soak_pipeline_tests.hostile.test_stores import silent_after_the_sign_in
from soak_pipeline_tests.target import examples, rows
from soak_pipeline_tests.target.rows import calls, chain
from soak_pipeline_tests.waiting import wait_for, wait_until_gone

TARGET = examples.target()
TENANTS = examples.plan().tenants
SMALLEST_FIRST = TENANTS[::-1]
NOTHING: dict[str, list[bytes]] = {tenant.name: [] for tenant in TENANTS}

_PARENT = """
import sys
from pathlib import Path
from soak_pipeline.target.audit_readers import read_tenants
from soak_pipeline_tests.target.test_audit_readers import NOTHING, TARGET, TENANTS
read_tenants({"audit": sys.argv[1]}, TARGET, NOTHING, TENANTS[:1], public_key_pem=None, directory=Path(sys.argv[2]))
"""


def readers_of(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children() if MODULE in _command_of(child)]


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        # Another test's process that has ended meanwhile.
        return []


@pytest.fixture
def silent_dsn() -> Iterator[str]:
    """Of a server that signs its clients in and never says another word; they would wait for an hour."""
    with hostile(silent_after_the_sign_in) as server:
        yield f"postgresql://soak:word@127.0.0.1:{server.port}/audit?sslmode=disable&gssencmode=disable"


def test_readers_answer_what_one_process_reads_in_the_order_of_the_tenants(
    dsns: dict[str, str], tmp_path: Path
) -> None:
    acknowledged: dict[str, list[bytes]] = {}
    for index, tenant in enumerate(TENANTS):
        audit = chain(tenant.tenant_id, calls(3 + index, start=rows.START + index * rows.timedelta(hours=1)))
        rows.insert_audit(dsns["audit"], tenant.tenant_id, audit)
        acknowledged[tenant.name] = [UUID(row.request_id).bytes for row in audit]
    acknowledged["B"].append(b"\x05" * 16)
    found = read_tenants(dsns, TARGET, acknowledged, SMALLEST_FIRST, public_key_pem=None, directory=tmp_path, at_once=2)
    assert found == [read_tenant(dsns, nominal.DIALECT, tenant, acknowledged[tenant.name]) for tenant in SMALLEST_FIRST]
    chains = {audit.chain.tenant: audit.chain.independent for audit in found}
    assert {name: chain.rows for name, chain in chains.items() if chain} == {"A": 3, "B": 4, "C": 5, "D": 6, "E": 7}
    assert {name: chain.acknowledged_missing for name, chain in chains.items() if chain} == {
        "A": 0, "B": 1, "C": 0, "D": 0, "E": 0,
    }  # fmt: skip
    assert all(audit.reconciliation.audit_without_usage for audit in found)


def test_more_keys_than_a_connection_holds_arrive(dsns: dict[str, str], tmp_path: Path) -> None:
    keys = [index.to_bytes(16) for index in range(40_000)]
    (found,) = read_tenants(dsns, TARGET, {"A": keys}, TENANTS[:1], public_key_pem=None, directory=tmp_path)
    assert found.chain.independent is not None
    assert (found.chain.independent.acknowledged, found.chain.independent.acknowledged_missing) == (40_000, 40_000)


def test_a_database_that_does_not_answer_is_the_reason(tmp_path: Path) -> None:
    dsns = {"audit": "postgresql://soak:word@127.0.0.1:1/audit"}
    for found in read_tenants(dsns, TARGET, NOTHING, TENANTS, public_key_pem=None, directory=tmp_path):
        assert found.chain.independent is None
        assert "audit database" in found.chain.reason
        assert "word" not in found.chain.reason


@pytest.mark.parametrize(
    ("code", "how"),
    [("import os; os.kill(os.getpid(), 9)", "was killed by signal 9"), ("raise SystemExit(3)", "ended with 3")],
)
def test_a_reader_that_does_not_answer_leaves_nothing_read(
    code: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_readers, "module_command", lambda *_: [sys.executable, "-c", code])
    keys = {tenant.name: [bytes(16)] * 20_000 for tenant in TENANTS}
    found = read_tenants({}, TARGET, keys, TENANTS[:2], public_key_pem=None, directory=tmp_path)
    assert [audit.chain.tenant for audit in found] == ["A", "B"]
    assert {audit.chain.reason for audit in found} == {f"the process that reads the audit rows {how} before its answer"}


def test_a_reader_that_is_never_done_is_ended(silent_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_readers, "ANSWER_TIMEOUT_S", 0.1)
    (found,) = read_tenants(
        {"audit": silent_dsn}, TARGET, NOTHING, TENANTS[:1], public_key_pem=None, directory=tmp_path
    )
    assert found.chain.independent is None
    assert found.chain.reason == "the audit rows were not read within 0.1 s"
    assert readers_of(psutil.Process()) == []


def test_a_failure_here_ends_the_readers_that_wait(silent_dsn: str, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        raise ValueError("no keys")
        yield b""

    with pytest.raises(ValueError, match="no keys"):
        read_tenants(
            {"audit": silent_dsn}, TARGET, {**NOTHING, "B": broken()}, TENANTS, public_key_pem=None, directory=tmp_path
        )
    assert readers_of(psutil.Process()) == []


def test_a_reader_ends_with_its_parent(silent_dsn: str, tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, silent_dsn, str(tmp_path)])
    try:
        readers = wait_for(lambda: readers_of(psutil.Process(parent.pid)), "a reader runs")
        assert len(readers) == 1
        assert not any("word" in argument for argument in readers[0].cmdline())
    finally:
        parent.kill()
        parent.wait()
    wait_until_gone(*readers)
