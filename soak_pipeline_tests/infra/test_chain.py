from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.acp import chain
from infra.acp.events import AuditEvent
from infra.acp.workers.audit import Head, extend
from soak_pipeline_tests.infra.platform_events import NOON, TENANTS, audit_event
from soak_pipeline_tests.infra.servers import Servers
from soak_pipeline_tests.waiting import PATIENCE_S

pytestmark = pytest.mark.every_redis

TEXT = st.text(max_size=12)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), children
        )
    ),
    max_leaves=8,
)
EVENTS = st.lists(
    st.builds(
        lambda decision, tool, reason, metadata, offset_us: audit_event(
            decision=decision,
            tool=tool,
            reason=reason,
            metadata=metadata,
            occurred_at=NOON + timedelta(microseconds=offset_us),
        ),
        decision=st.sampled_from(["allow", "deny"]),
        tool=st.none() | st.sampled_from(["read_file", "é"]),
        reason=st.none() | TEXT,
        metadata=st.dictionaries(TEXT, st.integers(), max_size=3),
        offset_us=st.integers(-2_000_000, 2_000_000),
    ),
    min_size=1,
    max_size=12,
)


def rows_of(sent: list[AuditEvent]) -> list[chain.ChainRow]:
    return [
        chain.ChainRow(
            tenant_id=row.event.tenant_id,
            agent_id=row.event.agent_id,
            action=row.event.action,
            tool=row.event.tool,
            decision=row.event.decision,
            reason=row.event.reason,
            request_id=row.event.request_id,
            timestamp=row.timestamp,
            metadata=json.loads(row.metadata_json),
            event_hash=row.event_hash,
            prev_hash=row.prev_hash,
            chain_sequence=number,
        )
        for number, row in enumerate(extend(Head(chain.GENESIS, None), sent), start=1)
    ]


def walked(rows: list[chain.ChainRow]) -> chain.ChainVerifier:
    verifier = chain.ChainVerifier()
    for row in rows:
        verifier.walk(row)
    return verifier


def test_the_hash_of_a_row_by_hand() -> None:
    metadata_sha256 = sha256(b'{"status":200}').hexdigest()
    text = (
        "0" * 64 + '{"action": "execute_tool", "agent_id": "00000000-0000-0000-0000-000000000000",'
        f' "decision": "allow", "metadata_sha256": "{metadata_sha256}", "reason": "caf\\u00e9",'
        ' "request_id": "r", "tenant_id": "t", "timestamp": "2026-03-01T12:00:00.000500+00:00", "tool": ""}'
    )
    assert (
        chain.event_hash(
            prev_hash=chain.GENESIS,
            tenant_id="t",
            agent_id=str(UUID(int=0)),
            action="execute_tool",
            tool=None,
            decision="allow",
            reason="café",
            request_id="r",
            timestamp=NOON.astimezone(timezone(timedelta(hours=2))),
            metadata_json='{"status":200}',
        )
        == sha256(text.encode()).hexdigest()
    )


@given(EVENTS)
def test_what_the_writer_chains_the_verifier_accepts(sent: list[AuditEvent]) -> None:
    rows = rows_of(sent)
    verifier = walked(rows)
    assert (verifier.is_valid, verifier.processed_count, verifier.violations) == (True, len(sent), [])
    assert verifier.head == rows[-1].event_hash
    assert [row.request_id for row in rows] == [event.request_id for event in sent]
    times = [row.timestamp for row in rows]
    assert all(earlier < later for earlier, later in pairwise(times))


@given(EVENTS, st.data())
def test_a_changed_field_is_tampering_and_nothing_else_is_reported(sent: list[AuditEvent], data: st.DataObject) -> None:
    rows = rows_of(sent)
    position = data.draw(st.integers(0, len(rows) - 1))
    row = rows[position]
    changes: list[dict[str, Any]] = [
        {"agent_id": str(UUID(int=9))},
        {"action": "user_login"},
        {"tool": "other"},
        {"decision": "kill"},
        {"reason": (row.reason or "") + "!"},
        {"request_id": str(UUID(int=9))},
        {"metadata": {**(row.metadata or {}), "more": 1}},
        {"event_hash": "f" * 64},
    ]
    rows[position] = replace(row, **data.draw(st.sampled_from(changes)))
    verifier = walked(rows)
    assert verifier.violations[0]["kind"] == "hash_tamper"
    # A changed hash is also a gap for the row after it.
    assert verifier.error_count == (1 if rows[position].event_hash != "f" * 64 or position == len(rows) - 1 else 2)


@given(EVENTS.filter(lambda sent: len(sent) >= 2), st.data())
def test_a_deleted_row_leaves_one_gap_unless_it_was_the_last(sent: list[AuditEvent], data: st.DataObject) -> None:
    rows = rows_of(sent)
    position = data.draw(st.integers(0, len(rows) - 1))
    verifier = walked(rows[:position] + rows[position + 1 :])
    expected = [] if position == len(rows) - 1 else ["chain_gap"]
    assert [violation["kind"] for violation in verifier.violations] == expected


@given(EVENTS, EVENTS)
def test_two_rows_after_one_are_a_fork(trunk: list[AuditEvent], branch: list[AuditEvent]) -> None:
    rows = rows_of(trunk)
    head = Head(rows[-1].prev_hash, rows[-1].timestamp)
    forked = extend(head, branch[:1])[0]
    rows.append(
        replace(
            rows_of(branch[:1])[0],
            timestamp=forked.timestamp,
            prev_hash=forked.prev_hash,
            event_hash=forked.event_hash,
        )
    )
    assert [violation["kind"] for violation in walked(rows).violations] == ["fork"]


@given(EVENTS)
def test_a_verifier_may_go_on_from_a_checkpoint(sent: list[AuditEvent]) -> None:
    rows = rows_of(sent)
    middle = len(rows) // 2
    first = walked(rows[:middle])
    second = chain.ChainVerifier(first.head, first.processed_count, first.last_sequence, first.last_timestamp)
    for row in rows[middle:]:
        second.walk(row)
    assert (second.is_valid, second.processed_count, second.head) == (True, len(rows), rows[-1].event_hash)


def test_rows_in_the_wrong_order_of_time_are_reported() -> None:
    rows = rows_of([audit_event(), audit_event()])
    late = replace(rows[1], timestamp=rows[0].timestamp)
    late = replace(late, event_hash=late.recomputed_hash())
    assert [violation["kind"] for violation in walked([rows[0], late]).violations] == ["wrong_order"]


def test_only_so_many_violations_are_kept_but_all_are_counted() -> None:
    rows = [replace(row, decision="kill") for row in rows_of([audit_event() for _ in range(chain.VIOLATIONS_KEPT + 5)])]
    verifier = walked(rows)
    assert (verifier.error_count, len(verifier.violations)) == (chain.VIOLATIONS_KEPT + 5, chain.VIOLATIONS_KEPT)


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(min_value=datetime(2, 1, 1), timezones=st.just(UTC)))
def test_a_timestamp_is_later_than_the_one_before_and_prints_alike_everywhere(was: datetime, now: datetime) -> None:
    if max(was, now).year == datetime.max.year:
        return
    stamp = chain.next_timestamp(was, now)
    assert was < stamp
    assert now <= stamp
    assert stamp.isoformat() == chain.canonical_timestamp(stamp)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), JSON_VALUES))
def test_metadata_comes_back_from_the_database_as_it_was_hashed(
    started_servers: Servers, metadata: dict[str, Any]
) -> None:
    text = chain.canonical_metadata(metadata)
    with psycopg.connect(started_servers.dsn("acp_audit")) as connection:
        row = connection.execute("SELECT %s::jsonb", [text]).fetchone()
    assert row is not None
    assert chain.canonical_metadata(row[0]) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_metadata_with_a_number_that_json_lacks_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        chain.canonical_metadata({"deep": [{"risk": number}]})


class TestChainLock:
    def test_the_key_and_its_time_to_live_are_as_documented(self, client: redis.Redis) -> None:
        lock = chain.ChainLock(client, [TENANTS[0]])
        lock.acquire()
        key = f"acp:audit_chain_lock:{TENANTS[0]}"
        assert client.get(key) == lock.token.encode()
        assert 0 < int(client.pttl(key)) <= 5_000
        lock.release()
        assert client.get(key) is None

    def test_all_locks_are_had_or_none(self, client: redis.Redis) -> None:
        held = chain.ChainLock(client, [TENANTS[1]])
        held.acquire()
        wanted = chain.ChainLock(client, TENANTS)
        with pytest.raises(chain.ChainLockTimeout, match="3 tenants"):
            wanted.acquire(timeout_s=0.05)
        assert client.exists(*(chain.LOCK_PREFIX + tenant for tenant in TENANTS)) == 1
        held.release()
        wanted.acquire(timeout_s=0.05)

    def test_nobody_releases_or_confirms_what_has_become_anothers(self, client: redis.Redis) -> None:
        late = chain.ChainLock(client, [TENANTS[0]], ttl_s=0.01)
        late.acquire()
        successor = chain.ChainLock(client, [TENANTS[0]])
        successor.acquire(timeout_s=PATIENCE_S)
        with pytest.raises(chain.ChainLockLost):
            late.confirm()
        late.release()
        successor.confirm()
        assert client.get(chain.LOCK_PREFIX + TENANTS[0]) == successor.token.encode()

    def test_to_confirm_is_to_hold_for_another_time_to_live(self, client: redis.Redis) -> None:
        lock = chain.ChainLock(client, TENANTS[:2], ttl_s=3_600.0)
        lock.acquire()
        for tenant in TENANTS[:2]:
            client.pexpire(chain.LOCK_PREFIX + tenant, 600_000)
        lock.confirm()
        assert all(int(client.pttl(chain.LOCK_PREFIX + tenant)) > 600_000 for tenant in TENANTS[:2])


@given(st.uuids())
def test_an_advisory_key_is_a_signed_64_bit_integer(tenant: UUID) -> None:
    assert -(2**63) <= chain.advisory_key(str(tenant)) < 2**63
