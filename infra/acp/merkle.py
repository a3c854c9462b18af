"""An append-only Merkle tree whose root is known after every leaf.

Owns the tree's hashing: leaf = SHA-256(0x00 || data), node = SHA-256(0x01 || left || right), an odd node is
promoted unchanged, the empty tree is SHA-256 of nothing (RFC 6962, section 2.1).  It never keeps a leaf.
"""

from __future__ import annotations

from hashlib import sha256


def leaf_hash(data: bytes) -> bytes:
    """Hash the data of one leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent."""
    return sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """The right edge of a tree: the roots of its complete subtrees, largest first.

    A tree of n leaves has as many complete subtrees as n has one-bits, so both memory and the work per leaf
    stay logarithmic, and re-reading the root after each seal costs a handful of hashes.
    """

    def __init__(self) -> None:
        self.leaf_count = 0
        self._subtrees: list[bytes] = []

    def append(self, data: bytes) -> None:
        """Add one leaf at the right."""
        node = leaf_hash(data)
        complete = self.leaf_count
        while complete & 1:
            node = node_hash(self._subtrees.pop(), node)
            complete >>= 1
        self._subtrees.append(node)
        self.leaf_count += 1

    def root(self) -> bytes:
        """Give the root of the leaves so far: 32 bytes."""
        if not self._subtrees:
            return sha256(b"").digest()
        node = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            node = node_hash(left, node)
        return node
