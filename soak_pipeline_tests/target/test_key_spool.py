from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.target.arrow_columns import column_of
from soak_pipeline.target.key_spool import KeySpool, key_of, keys_of, uuid_of

SOME = [UUID(int=number << 64 | 5).bytes for number in range(4)]

# Few different keys, so that some are equal; all kinds of keys, so that every bucket is met.
KEYS = st.lists(st.one_of(st.binary(min_size=16, max_size=16), st.sampled_from(SOME)), max_size=200)


@settings(deadline=None)
@given(KEYS, KEYS)
def test_every_key_is_counted_in_its_collections(left: list[bytes], right: list[bytes]) -> None:
    with KeySpool("left", "right") as spool:
        spool.add("left", b"".join(left))
        for key in right:
            spool.add("right", key)
        buckets = list(spool.counts())
    for name, expected in (("left", Counter(left)), ("right", Counter(right))):
        found = [
            (key.tobytes(), int(count))
            for bucket in buckets
            for key, count in zip(bucket.keys, bucket.counts[name], strict=True)
        ]
        assert len(found) == len(set(left) | set(right))
        assert {key: count for key, count in found if count} == expected


def test_keys_with_one_mixture_are_told_apart() -> None:
    """The order groups keys by 8 bytes that are made of their 16; here two keys have the same 8."""
    first = np.array([[1, 2]], dtype=np.uint64)
    other = np.array([[1 ^ 2 * 0x9E3779B97F4A7C15 % 2**64, 0]], dtype=np.uint64)
    keys = [first.tobytes(), other.tobytes()] * 2
    with KeySpool("all") as spool:
        spool.add("all", b"".join(keys))
        counted = {key.tobytes(): int(count) for bucket in spool.counts()
                   for key, count in zip(bucket.keys, bucket.counts["all"], strict=True)}  # fmt: skip
    assert counted == {keys[0]: 2, keys[1]: 2}


def test_many_keys_are_counted_a_bounded_number_at_a_time() -> None:
    # As if made at one time: the first half of each is the same.
    numbers = np.zeros((400_000, 2), dtype=np.uint64)
    numbers[:, 1] = np.arange(400_000)
    keys = numbers.tobytes()
    with KeySpool("left", "right") as spool:
        spool.add("left", keys)
        spool.add("right", keys[: 16 * 200_000])
        found = [
            (len(some.keys), int(some.counts["left"].sum()), int(some.counts["right"].sum())) for some in spool.counts()
        ]
    assert [sum(column) for column in zip(*found, strict=True)] == [400_000, 400_000, 200_000]
    assert max(left + right for _, left, right in found) <= 262_144
    assert len(found) == 3


def test_more_than_the_buffers_hold_goes_to_disk_and_is_gone_at_the_end(tmp_path: Path) -> None:
    keys = [index.to_bytes(16, "little") for index in range(100_000)]
    with KeySpool("all", directory=tmp_path) as spool:
        for key in keys:
            spool.add("all", key)
        (file,) = tmp_path.rglob("all")
        assert file.stat().st_size == 65_536 * 16
        assert sum(int(bucket.counts["all"].sum()) for bucket in spool.counts()) == 100_000
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(st.lists(st.uuids(), max_size=20))
def test_the_keys_of_many_uuids_are_those_of_each(of: list[UUID]) -> None:
    assert keys_of(column_of(str(uuid).encode() for uuid in of)) == b"".join(uuid.bytes for uuid in of)


@pytest.mark.parametrize(
    "odd",
    [b"", None, b"0b8c1a520f6c5b8e9d6e8f7a6b5c4d3e", b"0b8c1a5-20f6c-5b8e-9d6e-8f7a6b5c4d3e",
     b"0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3g", b"0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c-d3e"],
)  # fmt: skip
def test_texts_that_are_no_uuids_have_no_quick_keys(odd: bytes | None) -> None:
    usual = b"0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3e"
    assert keys_of(column_of([usual, odd, usual])) is None


def test_a_uuid_is_its_own_key() -> None:
    text = "0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3e"
    assert key_of(text) == UUID(text).bytes
    assert uuid_of(key_of(text)) == text


def test_any_other_text_has_a_key_too() -> None:
    odd = ["", "x", "é" * 36, "0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3g", "0b8c1a52 0f6c 5b8e 9d6e 8f7a6b5c4d3e"]
    assert all(len(key_of(text)) == 16 for text in odd)
    assert len({key_of(text) for text in odd}) == len(odd)
