"""Reading responses that arrive in any portions, and refusing what is none."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.load.sender.http1 import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_INTERIM_ANSWERS,
    MalformedResponse,
    Response,
)

BODY = b'{"success": true, "data": [1, 2, 3]}'
BY_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCONTENT-LENGTH: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = (
    b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"a;x=1\r\n" + BODY[:10] + b"\r\n" + b"%X\r\n" % (len(BODY) - 10) + BODY[10:] + b"\r\n0\r\nTrailer: 1\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + BY_LENGTH
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def fed(*portions: bytes) -> Response:
    response = Response()
    for portion in portions:
        if response.feed(portion):
            break
    return response


@settings(deadline=None)
@given(st.sampled_from([BY_LENGTH, CHUNKED, INTERIM]), st.lists(st.integers(1, 400), max_size=8))
def test_any_portions_give_the_same_response(wire: bytes, cuts: list[int]) -> None:
    places = sorted({cut for cut in cuts if cut < len(wire)})
    portions = [wire[start:end] for start, end in zip([0, *places], [*places, len(wire)], strict=True)]
    response = fed(*portions)
    assert response.done
    assert response.reusable
    assert response.body == BODY
    assert response.status == (403 if wire is CHUNKED else 200)


def test_byte_by_byte() -> None:
    response = fed(*[CHUNKED[at : at + 1] for at in range(len(CHUNKED))])
    assert response.done
    assert response.body == BODY


def test_a_body_without_length_ends_with_the_connection() -> None:
    response = fed(b"HTTP/1.0 500 Oops\r\n\r\nsome", b" text", b"")
    assert (response.status, response.body, response.reusable) == (500, b"some text", False)


def test_no_content_is_complete_at_once() -> None:
    response = fed(EMPTY)
    assert (response.done, response.status, response.body, response.reusable) == (True, 204, b"", True)


@pytest.mark.parametrize(
    "wire",
    [
        BY_LENGTH.replace(b"HTTP/1.1", b"HTTP/1.0"),
        BY_LENGTH.replace(b"\r\nContent-Type", b"\r\nConnection: Close\r\nContent-Type"),
        BY_LENGTH + b"HTTP/1.1 200 OK",
        CHUNKED + b"x",
    ],
)
def test_such_a_connection_is_not_used_again(wire: bytes) -> None:
    response = fed(wire)
    assert response.body == BODY
    assert not response.reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * (MAX_HEAD_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    ],
)
def test_what_is_no_response_within_the_limits_is_refused(wire: bytes) -> None:
    with pytest.raises(MalformedResponse):
        fed(wire)


@pytest.mark.parametrize("wire", [b"", BY_LENGTH[:20], BY_LENGTH[:-1], CHUNKED[:-1]])
def test_an_answer_cut_off_by_the_end_of_the_connection_is_refused(wire: bytes) -> None:
    response = Response()
    if wire:
        response.feed(wire)
    assert response.started == bool(wire)
    with pytest.raises(MalformedResponse):
        response.feed(b"")


def test_tiny_chunks_stop_at_the_limit() -> None:
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    portion = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    for _ in range(MAX_BODY_BYTES // 4096):
        response.feed(portion)
    with pytest.raises(MalformedResponse):
        response.feed(portion)


def test_a_few_interim_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * MAX_INTERIM_ANSWERS
    assert fed(early + BY_LENGTH).body == BODY


def test_not_modified_has_no_body_whatever_its_length_says() -> None:
    response = fed(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n")
    assert (response.done, response.body, response.reusable) == (True, b"", True)


def test_tiny_chunks_take_no_more_memory_than_bytes() -> None:
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    tracemalloc.start()
    for _ in range(100):
        response.feed(b"2\r\nab\r\n" * 1_000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    response.feed(b"0\r\n\r\n")
    assert response.body == b"ab" * 100_000
    assert taken < 2 * 200_000


def test_a_header_is_found_in_any_case() -> None:
    response = fed(BY_LENGTH.replace(b"\r\nContent-Type", b"\r\nSet-Cookie: acp_token=AbC; HttpOnly\r\nContent-Type"))
    assert response.header(b"set-cookie") == b"acp_token=AbC; HttpOnly"
    assert response.header(b"cookie") is None


def test_a_header_may_come_more_than_once() -> None:
    cookies = b"\r\nSet-Cookie: a=1\r\nset-cookie:  acp_token=x.y.z; HttpOnly \r\nContent-Type"
    response = fed(BY_LENGTH.replace(b"\r\nContent-Type", cookies))
    assert response.values(b"set-cookie") == [b"a=1", b"acp_token=x.y.z; HttpOnly"]
    assert response.values(b"cookie") == []


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_a_response_or_refused(first: bytes, second: bytes) -> None:
    response = Response()
    try:
        for portion in (first, second):
            if response.feed(portion):
                return
    except MalformedResponse:
        return
    assert not response.done
