from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from infra.acp.merkle import MerkleTree, leaf_hash, node_hash


def rfc_6962_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + rfc_6962_root(leaves[:split]) + rfc_6962_root(leaves[split:])).digest()


def level_by_level_root(leaves: list[bytes]) -> bytes:
    """Pair the nodes of each level; an odd one goes up unchanged."""
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        pairs = [node_hash(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0] if level else sha256(b"").digest()


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_root_is_that_of_both_naive_methods_after_every_leaf(leaves: list[bytes]) -> None:
    tree = MerkleTree()
    assert tree.root() == rfc_6962_root([])
    for count, leaf in enumerate(leaves, start=1):
        tree.append(leaf)
        assert tree.leaf_count == count
        assert tree.root() == rfc_6962_root(leaves[:count]) == level_by_level_root(leaves[:count])


def test_three_leaves_by_hand() -> None:
    tree = MerkleTree()
    for leaf in (b"a", b"b", b"c"):
        tree.append(leaf)
    left = sha256(b"\x01" + sha256(b"\x00a").digest() + sha256(b"\x00b").digest()).digest()
    assert tree.root() == sha256(b"\x01" + left + sha256(b"\x00c").digest()).digest()


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=20), st.data())
def test_another_leaf_gives_another_root(leaves: list[bytes], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:position], leaves[position] + b"!", *leaves[position + 1 :]]
    assert level_by_level_root(leaves) != level_by_level_root(changed)
