"""Rows of any content, through a real PostgreSQL: they come out as they went in, and their hashes are judged right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from soak_pipeline.dialect.hashing import ChainRow
from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.target.audit_rows import read_batches
from soak_pipeline.target.chain_verifier import ChainVerifier
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.target import examples, rows
from soak_pipeline_tests.target.rows import AGENT, Call, calls, chain
from soak_pipeline_tests.waiting import wait_for

CHAIN = nominal.DIALECT.chain
TENANT = examples.plan().tenants[0].tenant_id
OTHER = examples.plan().tenants[1].tenant_id

# Rows take long to draw and to store on a busy machine, which is no fault of theirs.
_OF_ANY_CONTENT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# PostgreSQL has no text with the character NUL, and UTF-8 no lone surrogates.
_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_ODD = st.sampled_from(
    ['"', "\\", "\\N", "\\\\", "\t", "\n", "\r", "\b\f\v", "\x7f", "\x85", "\u2028", "é", "😀", ", ", '": ']
)


def _texts(most: int) -> st.SearchStrategy[str]:
    return st.one_of(st.text(_CHARACTERS, max_size=most), st.lists(_ODD, max_size=most // 4).map("".join))


# A jsonb column gives other numbers back as another kind of number, so a platform must not hash those.
_NUMBERS = st.one_of(
    st.integers(), st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(min_value=-1e15, max_value=1e15).filter(lambda number: str(number) != "-0.0"),
)  # fmt: skip
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _texts(12)),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(_texts(8), values, max_size=3)),
    max_leaves=5,
)
_CALLS = st.builds(
    Call,
    request_id=st.one_of(st.none(), _texts(50), st.uuids().map(str)),
    action=_texts(60),
    tool=st.one_of(st.none(), _texts(60)),
    decision=_texts(50),
    reason=st.one_of(st.none(), _texts(60)),
    metadata=st.dictionaries(_texts(12), _VALUES, max_size=4),
    timestamp=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),
    version=st.sampled_from([2, 2, 2, 1]),
    agent_id=st.sampled_from([AGENT, OTHER]),
)
_CHAINS = st.lists(
    _CALLS, min_size=1, max_size=8, unique_by=lambda call: id(call) if call.request_id is None else call.request_id
).map(lambda of: chain(TENANT, of))


@pytest.fixture(scope="module")
def connection(started_stores: Servers) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Of the audit database, whose table of rows is empty between the tests."""
    with psycopg.connect(started_stores.dsn("acp_audit"), autocommit=True) as connection:
        connection.execute("TRUNCATE audit_logs")
        yield connection


def _stored(
    connection: psycopg.Connection[tuple[Any, ...]], of: list[ChainRow]
) -> tuple[ChainVerifier, list[ChainRow]]:
    """The verdict on rows, and the rows, that were in the database for a moment."""
    verifier, read = ChainVerifier(TENANT, CHAIN), []
    try:
        rows.insert_audit_with(connection, TENANT, of)
        with connection.transaction():
            for batch in read_batches(connection, TENANT, nominal.DIALECT.audit_rows):
                verifier.check(batch)
                read += [batch.row(index) for index in range(len(batch))]
    finally:
        connection.execute("TRUNCATE audit_logs")
    return verifier, read


@_OF_ANY_CONTENT
@given(of=_CHAINS)
def test_any_row_is_read_as_it_was_written_and_has_its_hash(
    connection: psycopg.Connection[tuple[Any, ...]], of: list[ChainRow]
) -> None:
    verifier, read = _stored(connection, of)
    assert [row._replace(metadata=None) for row in read] == [row._replace(metadata=None) for row in of]
    assert [json.loads(row.metadata or "") for row in read] == [json.loads(row.metadata or "") for row in of]
    assert (verifier.rows, verifier.tampered, verifier.gaps) == (len(of), 0, 0)


_OTHERS: dict[str, st.SearchStrategy[str]] = {
    "request_id": _texts(50),
    "action": _texts(60),
    "tool": _texts(60),
    "decision": _texts(50),
    "agent_id": st.just("00000000-0000-4000-8000-000000000000"),
    "reason": _texts(60),
    "metadata": st.dictionaries(_texts(12), _VALUES, max_size=4).map(json.dumps),
    "timestamp": st.just("2101-01-01T00:00:00.000000+00:00"),
}
_ONLY_IN_VERSION_2 = {"reason", "metadata", "timestamp"}


@_OF_ANY_CONTENT
@given(of=_CHAINS, data=st.data())
def test_any_change_of_what_a_row_says_is_tampering(
    connection: psycopg.Connection[tuple[Any, ...]], of: list[ChainRow], data: st.DataObject
) -> None:
    index, field = data.draw(st.integers(0, len(of) - 1)), data.draw(st.sampled_from(sorted(_OTHERS)))
    row = of[index]
    changed = row._replace(**{field: data.draw(_OTHERS[field])})
    assume(changed.request_id not in {other.request_id for other in of if other is not row} - {None})
    counts = row.hash_version == "2" or field not in _ONLY_IN_VERSION_2
    says_other = _meaning(field, row) != _meaning(field, changed)
    verifier, _ = _stored(connection, [*of[:index], changed, *of[index + 1 :]])
    assert (verifier.tampered, verifier.gaps) == (int(counts and says_other), 0)


def _meaning(field: str, row: ChainRow) -> str:
    value = getattr(row, field) or ""
    return json.dumps(json.loads(value), sort_keys=True) if field == "metadata" else value


@_OF_ANY_CONTENT
@given(st.lists(_CALLS, min_size=1, max_size=8), st.data())
def test_a_batch_is_judged_as_its_rows_are(of: list[Call], data: st.DataObject) -> None:
    """The quick hash of a column against the definition, row by row, with rows of any other content among them."""
    audit = [
        row._replace(
            **data.draw(st.dictionaries(st.sampled_from(["tool", "reason", "event_hash"]), _texts(64), max_size=1))
        )
        for row in chain(TENANT, of)
    ]
    verifier = ChainVerifier(TENANT, CHAIN)
    for batch in rows.batches(audit, 5):
        verifier.check(batch)
    assert verifier.tampered == sum(not CHAIN.is_hash_right(row, TENANT) for row in audit)


def test_a_character_that_moved_into_the_next_hash_is_tampering() -> None:
    first, second = chain(TENANT, calls(2))
    audit = [
        first._replace(event_hash=first.event_hash[:-1]),
        second._replace(event_hash=first.event_hash[-1] + second.event_hash),
    ]
    verifier = ChainVerifier(TENANT, CHAIN)
    verifier.check(*rows.batches(audit))
    assert verifier.tampered == 2


def test_metadata_of_any_kind_beside_usual_ones() -> None:
    """A value that is no JSON, or an empty one, hides no other row's fault."""
    of = chain(TENANT, [rows.without(call, metadata={}) for call in calls(5)])
    texts = ["{}", "null", "[]", "{} , {}", "not json"]
    audit = [row._replace(metadata=text) for row, text in zip(of, texts, strict=True)]
    verifier = ChainVerifier(TENANT, CHAIN)
    verifier.check(*rows.batches(audit))
    assert [sample.split(" ")[1] for sample in verifier.samples] == ["4", "5"]


def _scanned(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[int, int]:
    """Scans of the whole table, and rows fetched by an index."""
    found = connection.execute(
        "SELECT seq_scan, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'audit_logs'"
    ).fetchone()
    assert found is not None
    return found


def test_a_tenants_rows_are_read_by_their_index(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Whatever other tenants have: no scan of the table, and no other row."""
    try:
        rows.insert_audit_with(connection, TENANT, chain(TENANT, calls(50)))
        connection.execute(
            "INSERT INTO audit_logs"
            " (id, org_id, tenant_id, agent_id, action, decision, event_hash, prev_hash, timestamp)"
            " SELECT gen_random_uuid(), %(t)s, %(t)s, %(t)s, 'a', 'b', '', '', now() FROM generate_series(1, 5000)",
            {"t": OTHER},
        )
        connection.execute("ANALYZE audit_logs")
        connection.execute("SELECT pg_stat_force_next_flush()")
        scans, fetched = _scanned(connection)
        with connection.transaction():
            assert sum(len(batch) for batch in read_batches(connection, TENANT, nominal.DIALECT.audit_rows)) == 50
        # A connection says what it has done when it is closed, but not at once.
        wait_for(lambda: _scanned(connection) != (scans, fetched), "the connection says what it has done")
        assert _scanned(connection) == (scans, fetched + 50)
    finally:
        connection.execute("TRUNCATE audit_logs")
