"""Columns against lists of the same values."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.target.arrow_columns import (
    bytes_of,
    coded,
    column_of,
    digests_of,
    interleaved,
    joined,
    lengths,
    mapped,
    slices,
)

VALUES = st.lists(st.binary(max_size=6), max_size=12)
FEW = st.lists(st.tuples(*[st.sampled_from([None, b"", b"a", b"b"])] * 3), max_size=30)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.uuids()), max_size=9), st.integers(0, 3))
def test_uuids_are_texts(uuids: list[UUID | None], skipped: int) -> None:
    column = pa.array([None if uuid is None else uuid.bytes for uuid in uuids], pa.uuid())[skipped:]
    expected = [None if uuid is None else str(uuid).encode() for uuid in uuids[skipped:]]
    assert bytes_of(column).to_pylist() == expected


def test_texts_and_json_are_their_bytes() -> None:
    texts = ["é", None, "{}"]
    expected = ["é".encode(), None, b"{}"]
    assert bytes_of(pa.array(texts)).to_pylist() == expected
    assert bytes_of(pa.array(texts, pa.json_())).to_pylist() == expected


@settings(deadline=None)
@given(VALUES, st.data())
def test_a_part_of_a_column_has_its_values(values: list[bytes], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(begin, len(values)))
    part = column_of(values).slice(begin, end - begin)
    assert joined(part) == b"".join(values[begin:end])
    assert lengths(part).tolist() == [len(value) for value in values[begin:end]]


@settings(deadline=None)
@given(VALUES)
def test_a_column_of_nulls_among_others_is_joined_without_them(values: list[bytes]) -> None:
    column = column_of([each for value in values for each in (value, None)])
    assert joined(column) == b"".join(values)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 7))
def test_slices_are_the_pieces(size: int, count: int) -> None:
    data = bytes(range(size * count))
    assert slices(data, size).to_pylist() == [data[index : index + size] for index in range(0, len(data), size)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=3), st.one_of(st.none(), st.binary(max_size=3))), max_size=9))
def test_interleaved_rows_are_in_one_piece(of: list[tuple[bytes, bytes | None]]) -> None:
    first, second = column_of(a for a, _ in of), column_of(b for _, b in of)
    expected = [None if b is None else a + b + b"." + a for a, b in of]
    assert interleaved(first, second, b".", first).to_pylist() == expected


@settings(deadline=None)
@given(VALUES)
def test_digests_are_those_of_each_value(values: list[bytes]) -> None:
    assert digests_of(column_of(values)) == b"".join(hashlib.sha256(value).digest() for value in values)


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, b"", b"x", b"yy"]), max_size=20))
def test_each_different_value_is_made_once(values: list[bytes | None]) -> None:
    asked = []

    def make(value: bytes | None) -> bytes:
        asked.append(value)
        return b"null" if value is None else value * 2

    assert mapped(column_of(values), make).to_pylist() == [make(value) for value in values]
    assert len(asked) == len(set(values)) + len(values)


@settings(deadline=None)
@given(FEW)
def test_codes_tell_which_rows_are_alike_and_which_was_first(of: list[tuple[bytes | None, ...]]) -> None:
    columns = [column_of(row[index] for row in of) for index in range(3)]
    codes, firsts = coded(columns)
    assert [of[firsts[code]] for code in codes] == of
    assert [of.index(of[first]) for first in firsts] == firsts.tolist()
    assert len(firsts) == len(set(of))
