"""What is kept of unexpected answers."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.load.sender.client import Reply
from soak_pipeline.load.sender.samples import MAX_KINDS, MAX_TEXT, Sample, SampleBook, clean_text
from soak_pipeline.model.traffic import Operation, Outcome


def reply(status: int, body: bytes = b"") -> Reply:
    return Reply(status, body, None, None)


def samples(book: SampleBook) -> list[Sample]:
    return msgspec.json.decode(book.encoded(), type=list[Sample])


def test_each_kind_is_kept_once_with_first_last_and_count() -> None:
    book = SampleBook()
    book.add(Operation.EXECUTE, Outcome.SERVER_ERROR, reply(500, b"first"), 10)
    book.add(Operation.EXECUTE, Outcome.SERVER_ERROR, reply(500, b"second"), 20)
    book.add(Operation.EXECUTE, Outcome.SERVER_ERROR, reply(503), 30)
    first, second = samples(book)
    assert (first.count, first.first_us, first.last_us, first.text) == (2, 10, 20, "first")
    assert (second.count, second.status) == (1, 503)


def test_memory_is_bounded() -> None:
    book = SampleBook()
    for status in range(MAX_KINDS + 50):
        book.add(Operation.EXECUTE, Outcome.MALFORMED, reply(status), 0)
    assert len(samples(book)) == MAX_KINDS
    assert book.overflow == 50


def test_an_answer_to_a_login_is_not_kept() -> None:
    book = SampleBook()
    book.add(Operation.LOGIN, Outcome.MALFORMED, reply(200, b"access_token: whatever"), 0)
    assert samples(book)[0].text == ""


def test_what_looks_like_a_token_is_removed() -> None:
    text = clean_text(
        b'{"error": "bad token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl", "key": "' + b"aB3" * 20 + b'"}'
    )
    assert text == '{"error": "bad token [removed]", "key": "[removed]"}'


@settings(deadline=None)
@given(st.binary(max_size=5_000))
def test_any_body_becomes_one_short_printable_line(body: bytes) -> None:
    text = clean_text(body)
    assert len(text) <= MAX_TEXT
    assert "\x1b" not in text
    assert len(text.splitlines()) <= 1
