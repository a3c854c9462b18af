from __future__ import annotations

from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.target.key_spool import KeySpool, key_of, text_of

KEYS = st.lists(st.binary(min_size=16, max_size=16), max_size=200)


@given(KEYS, KEYS)
def test_every_key_comes_back_beside_its_equals(left: list[bytes], right: list[bytes]) -> None:
    with KeySpool("left", "right") as spool:
        for key in left:
            spool.add("left", key)
        for key in right:
            spool.add("right", key)
        buckets = list(spool.buckets())
    assert sorted(key for bucket in buckets for key in bucket["left"]) == sorted(left)
    assert sorted(key for bucket in buckets for key in bucket["right"]) == sorted(right)
    assert sum(len(set(bucket["left"]) & set(bucket["right"])) for bucket in buckets) == len(set(left) & set(right))


def test_more_than_the_buffers_hold_goes_to_disk_and_is_gone_at_the_end(tmp_path: Path) -> None:
    keys = [index.to_bytes(16, "little") for index in range(100_000)]
    with KeySpool("all", directory=tmp_path) as spool:
        for key in keys:
            spool.add("all", key)
        assert any(tmp_path.rglob("all-*"))
        assert sum(len(bucket["all"]) for bucket in spool.buckets()) == 100_000
    assert list(tmp_path.iterdir()) == []


def test_a_uuid_is_its_own_key() -> None:
    text = "0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3e"
    assert key_of(text) == UUID(text).bytes
    assert text_of(key_of(text)) == text


def test_any_other_text_has_a_key_too() -> None:
    odd = ["", "x", "é" * 36, "0b8c1a52-0f6c-5b8e-9d6e-8f7a6b5c4d3g", "0b8c1a52 0f6c 5b8e 9d6e 8f7a6b5c4d3e"]
    assert all(len(key_of(text)) == 16 for text in odd)
    assert len({key_of(text) for text in odd}) == len(odd)
