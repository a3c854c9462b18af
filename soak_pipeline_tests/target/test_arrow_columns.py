"""Columns against lists of the same values."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from soak_pipeline.target.arrow_columns import (
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


@given(VALUES, st.data())
def test_a_part_of_a_column_has_its_values(values: list[bytes], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(begin, len(values)))
    part = column_of(values).slice(begin, end - begin)
    assert joined(part) == b"".join(values[begin:end])
    assert lengths(part).tolist() == [len(value) for value in values[begin:end]]


@given(VALUES)
def test_a_column_of_nulls_among_others_is_joined_without_them(values: list[bytes]) -> None:
    column = column_of([each for value in values for each in (value, None)])
    assert joined(column) == b"".join(values)


@given(st.integers(1, 5), st.integers(0, 7))
def test_slices_are_the_pieces(size: int, count: int) -> None:
    data = bytes(range(size * count))
    assert slices(data, size).to_pylist() == [data[index : index + size] for index in range(0, len(data), size)]


@given(st.lists(st.tuples(st.binary(max_size=3), st.one_of(st.none(), st.binary(max_size=3))), max_size=9))
def test_interleaved_rows_are_in_one_piece(of: list[tuple[bytes, bytes | None]]) -> None:
    first, second = column_of(a for a, _ in of), column_of(b for _, b in of)
    expected = [None if b is None else a + b + b"." + a for a, b in of]
    assert interleaved(first, second, b".", first).to_pylist() == expected


@given(VALUES)
def test_digests_are_those_of_each_value(values: list[bytes]) -> None:
    assert digests_of(column_of(values)) == b"".join(hashlib.sha256(value).digest() for value in values)


@given(st.lists(st.sampled_from([None, b"", b"x", b"yy"]), max_size=20))
def test_each_different_value_is_made_once(values: list[bytes | None]) -> None:
    asked = []

    def make(value: bytes | None) -> bytes:
        asked.append(value)
        return b"null" if value is None else value * 2

    assert mapped(column_of(values), make).to_pylist() == [make(value) for value in values]
    assert len(asked) == len(set(values)) + len(values)


@given(FEW)
def test_codes_tell_which_rows_are_alike_and_which_was_first(of: list[tuple[bytes | None, ...]]) -> None:
    columns = [column_of(row[index] for row in of) for index in range(3)]
    codes, firsts = coded(columns)
    assert [of[firsts[code]] for code in codes] == of
    assert [of.index(of[first]) for first in firsts] == firsts.tolist()
    assert len(firsts) == len(set(of))
