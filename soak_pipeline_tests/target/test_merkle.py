from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.target.arrow_columns import column_of
from soak_pipeline.target.merkle import DayTrees, MerkleTree
from soak_pipeline_tests.target import rows
from soak_pipeline_tests.target.rows import Call, calls, chain

SCHEME = nominal.DIALECT.root_scheme
TENANT = "0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3e"


def _defined(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is defined: split at the largest power of two below the count."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + _defined(leaves[:split]) + _defined(leaves[split:])).digest()


def _grown(leaves: list[bytes]) -> str:
    tree = MerkleTree(SCHEME.tree)
    for leaf in leaves:
        tree.extend(column_of([leaf]))
    return tree.root()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_grown_tree_is_the_defined_one(leaves: list[bytes]) -> None:
    assert _grown(leaves) == _defined(leaves).hex()


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(max_size=8), max_size=20), max_size=8))
def test_it_does_not_matter_in_what_portions_a_tree_grows(portions: list[list[bytes]]) -> None:
    tree = MerkleTree(SCHEME.tree)
    for portion in portions:
        tree.extend(column_of(portion))
    leaves = [leaf for portion in portions for leaf in portion]
    assert (tree.root(), tree.leaf_count) == (_defined(leaves).hex(), len(leaves))


@pytest.mark.parametrize(
    ("count", "root"),
    [
        # The test vectors of the certificate-transparency reference implementation.
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_published_roots(count: int, root: str) -> None:
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    assert _grown([bytes.fromhex(leaf) for leaf in leaves[:count]]) == root


def test_a_receipt_is_canonical_json() -> None:
    (row,) = chain(TENANT, [Call(request_id=None, tool=None, reason='Ä "q"\n')])
    text = SCHEME.receipts.receipt_of(row, TENANT).decode()
    receipt = json.loads(text)
    assert text == json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert receipt["version"] == 4
    assert receipt["chain_shard"] == 0
    assert receipt["request_id"] is None
    assert receipt["tool"] is None
    assert receipt["reason"] == 'Ä "q"\n'


def test_days_are_trees_of_their_own_at_their_claimed_size() -> None:
    of = chain(TENANT, calls(4, step=timedelta(hours=9)))  # 07:30, 16:30, then 01:30 and 10:30 of the next day.
    trees = DayTrees(TENANT, {"2026-11-23": 2, "2026-11-24": 1, "2026-11-25": 0}, SCHEME)
    for batch in rows.batches(of, 3):
        trees.add(batch)
    receipts = [SCHEME.receipts.receipt_of(row, TENANT) for row in of]
    assert trees.rows_by_day == {"2026-11-23": 2, "2026-11-24": 2}
    assert trees.root_of("2026-11-23") == _defined(receipts[:2]).hex()
    assert trees.root_of("2026-11-24") == _defined(receipts[2:3]).hex()
    assert trees.root_of("2026-11-25") == sha256(b"").hexdigest()


def test_the_leaves_of_a_day_are_the_receipts_of_its_rows_whatever_they_say() -> None:
    odd = [None, "", "\\N", 'a"b', "tab\t", "é😀", "\u2028", "11111111-2222-4333-8444-555555555555"]
    of = chain(TENANT, [Call(request_id=text, tool=text, reason=text) for text in odd])
    trees = DayTrees(TENANT, {"2026-11-23": 6}, SCHEME)
    for batch in rows.batches(of, 5):
        trees.add(batch)
    assert trees.root_of("2026-11-23") == _defined([SCHEME.receipts.receipt_of(row, TENANT) for row in of[:6]]).hex()


def test_a_root_that_claims_more_rows_than_there_are_has_no_match() -> None:
    trees = DayTrees(TENANT, {"2026-11-23": 3}, SCHEME)
    for batch in rows.batches(chain(TENANT, calls(2))):
        trees.add(batch)
    assert trees.root_of("2026-11-23") is None
