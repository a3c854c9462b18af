from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.dialect.hashing import ChainRow
from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.target.chain_verifier import ChainVerifier, forks_among
from soak_pipeline_tests.target import rows
from soak_pipeline_tests.target.rows import Call, calls, chain

TENANT = "0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3e"


def _verified(of: list[ChainRow], rows_per_batch: int = 3) -> ChainVerifier:
    verifier = ChainVerifier(TENANT, nominal.DIALECT.chain)
    for batch in rows.batches(of, rows_per_batch):
        verifier.check(batch)
    return verifier


def _counts(of: list[ChainRow]) -> tuple[int, int, int, int]:
    """(tampered, gaps, forks, out of order)"""
    verifier = _verified(of)
    forks = forks_among(verifier.suspects, [row.prev_hash for row in of])
    return verifier.tampered, verifier.gaps, forks, verifier.out_of_order


def test_an_empty_chain_is_valid() -> None:
    assert _counts([]) == (0, 0, 0, 0)


def test_a_known_hash_is_recomputed() -> None:
    # echo -n '000…0{"action": "execute_tool", … }' | sha256sum, of a row without metadata.
    call = Call(request_id="11111111-2222-4333-8444-555555555555", metadata={}, reason=None)
    (row,) = chain(TENANT, [call])
    assert row.event_hash == "340ec91fed797b2fec77e4ba1931cf26dff568fe0cc633976c30040315f1c7f7"
    assert _counts([row]) == (0, 0, 0, 0)


@pytest.mark.parametrize("version", [2, 1, None])
def test_a_valid_chain_of_either_version_has_no_violation(version: int | None) -> None:
    of = [rows.without(call, version=version) for call in calls(20)]
    assert _counts(chain(TENANT, of)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"b": 1, "a": 2, "aa": 0.1},
        {"x": 'Übel "\\ \n\u2028'},
        {"tiny": 1e-07, "huge": 10**30},
        {"n": [{"z": None, "y": True}]},
    ],
)
def test_metadata_is_hashed_by_its_meaning_not_its_spelling(metadata: dict[str, object]) -> None:
    (row,) = chain(TENANT, [Call(request_id=None, metadata=metadata)])
    assert _counts([row]) == (0, 0, 0, 0)


def test_text_beyond_ascii_is_hashed_in_escapes() -> None:
    odd = Call(request_id='ünïcode "x"', tool="té\u2028st\\", reason="\x00\x7f😀")
    assert _counts(chain(TENANT, [odd])) == (0, 0, 0, 0)


def test_a_tampered_row_is_found_and_named() -> None:
    of = chain(TENANT, calls(5))
    of[2] = of[2]._replace(decision="deny")
    verifier = _verified(of)
    assert (verifier.tampered, verifier.gaps) == (1, 0)
    assert verifier.samples == [
        f"row 3 (request {of[2].request_id}): its content does not give its hash {of[2].event_hash[:12]}"
    ]


def test_a_deleted_row_is_one_gap() -> None:
    of = chain(TENANT, calls(5))
    assert _counts(of[:2] + of[3:]) == (0, 1, 0, 0)


def test_a_missing_first_row_is_a_gap() -> None:
    assert _counts(chain(TENANT, calls(3))[1:]) == (0, 1, 0, 0)


def test_missing_last_rows_are_no_gap() -> None:
    """Only the comparison with acknowledged requests, and with the roots, can find those."""
    assert _counts(chain(TENANT, calls(5))[:3]) == (0, 0, 0, 0)


def test_two_writers_at_one_head_are_a_fork() -> None:
    first, second, third = calls(3)
    trunk = chain(TENANT, [first])
    left = chain(TENANT, [second], prev_hash=trunk[0].event_hash)
    right = chain(TENANT, [third], prev_hash=trunk[0].event_hash)
    assert _counts(trunk + left + right) == (0, 1, 1, 0)


def test_two_first_rows_are_a_fork() -> None:
    first, second = calls(2)
    assert _counts(chain(TENANT, [first]) + chain(TENANT, [second])) == (0, 1, 1, 0)


def test_a_replayed_row_is_a_fork() -> None:
    of = chain(TENANT, calls(3))
    assert _counts([of[0], of[0], of[1], of[2]]) == (0, 1, 1, 0)


def test_a_timestamp_that_goes_back_is_out_of_order() -> None:
    of = calls(3)
    of[2] = rows.without(of[2], timestamp=of[0].timestamp - timedelta(seconds=1))
    assert _counts(chain(TENANT, of)) == (0, 0, 0, 1)


def test_equal_timestamps_are_in_order() -> None:
    of = [rows.without(call, timestamp=rows.START) for call in calls(3)]
    assert _counts(chain(TENANT, of)) == (0, 0, 0, 0)


def test_shards_are_chains_of_their_own() -> None:
    of = calls(6)
    even, odd = chain(TENANT, of[::2], shard=0), chain(TENANT, of[1::2], shard=1)
    mixed = [row for pair in zip(even, odd, strict=True) for row in pair]
    assert _counts(mixed) == (0, 0, 0, 0)
    assert _counts(mixed[:2] + mixed[3:]) == (0, 1, 0, 0)


@settings(deadline=None)
@given(st.integers(2, 30), st.data())
def test_any_change_of_any_field_is_found(count: int, data: st.DataObject) -> None:
    of = chain(TENANT, calls(count))
    index = data.draw(st.integers(0, count - 1))
    hashed = ChainRow._fields[1:11]
    field = data.draw(st.sampled_from(hashed))
    changed = {
        "prev_hash": "f" * 64,
        "event_hash": "e" * 64,
        "metadata": '{"status": 500}',
        "timestamp": "2026-11-23T07:30:59.000000+00:00",
    }.get(field, "something else")
    of[index] = of[index]._replace(**{field: changed})
    tampered, gaps, _, out_of_order = _counts(of)
    assert tampered + gaps + out_of_order > 0


@settings(deadline=None)
@given(st.integers(3, 30), st.data())
def test_any_removal_but_at_the_end_is_found(count: int, data: st.DataObject) -> None:
    of = chain(TENANT, calls(count))
    first = data.draw(st.integers(0, count - 2))
    last = data.draw(st.integers(first + 1, count - 1))
    assert _counts(of[:first] + of[last:]) == (0, 1, 0, 0)


@settings(deadline=None)
@given(st.integers(2, 20), st.randoms(use_true_random=False))
def test_any_other_order_is_found(count: int, chance: random.Random) -> None:
    of = chain(TENANT, calls(count))
    shuffled = list(of)
    chance.shuffle(shuffled)
    _, gaps, _, out_of_order = _counts(shuffled)
    assert (gaps > 0) == (shuffled != of)
    assert (out_of_order > 0) == (shuffled != of)


@settings(deadline=None)
@given(st.integers(1, 20), st.data())
def test_any_second_branch_is_a_fork(count: int, data: st.DataObject) -> None:
    of = chain(TENANT, calls(count))
    at = data.draw(st.integers(0, count - 1))
    other = Call(request_id="9d5c2d1e-0000-4000-8000-000000000000", timestamp=rows.START + timedelta(hours=1))
    of += chain(TENANT, [other], prev_hash=of[at].prev_hash)
    assert _counts(of) == (0, 1, 1, 0)


def test_memory_stays_bounded_on_a_chain_of_gaps_only() -> None:
    row = chain(TENANT, calls(1))[0]
    verifier = ChainVerifier(TENANT, nominal.DIALECT.chain)
    for batch in rows.batches(row._replace(prev_hash=f"{index:064x}") for index in range(10_500)):
        verifier.check(batch)
    assert verifier.gaps == 10_499  # The first row rightly names the genesis hash.
    assert len(verifier.suspects) == 10_000
    assert len(verifier.samples) == 20
