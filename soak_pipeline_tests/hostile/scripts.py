"""What a hostile server may do with one request, by name."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Mapping

from soak_pipeline_tests.hostile.server import Conversation, Script, answering, response

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAUSE_S = 0.02
VALID = json.dumps({"success": True, "data": {"status": "healthy"}}).encode()


def _endless(head: bytes, rest: bytes, pause_s: float = 0.0) -> Script:
    def script(conversation: Conversation) -> None:
        if conversation.hear():
            conversation.say(head)
            conversation.say_without_end(rest, pause_s)

    return script


def _then_reset(said: bytes) -> Script:
    def script(conversation: Conversation) -> None:
        if conversation.hear():
            if said:
                conversation.say(said)
                # The client gets to read what was said; a reset throws away what is still on its way.
                conversation.server.over.wait(0.05)
            conversation.reset()

    return script


def _reset_at_once(conversation: Conversation) -> None:
    conversation.reset()


def _silence(conversation: Conversation) -> None:
    if conversation.hear():
        conversation.stay()


def _half_closed_within_the_answer(conversation: Conversation) -> None:
    if conversation.hear():
        conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{")
        conversation.socket.shutdown(socket.SHUT_WR)
        conversation.stay()


ENDLESS: Mapping[str, Script] = {
    "a length of a hundred gigabytes, and bytes without end": _endless(
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536
    ),
    "no length, and bytes without end": _endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    "chunks without end": _endless(CHUNKED, b"8000\r\n" + b"x" * 0x8000 + b"\r\n"),
    "tiny chunks without end": _endless(CHUNKED, b"1\r\nx\r\n" * 10_000),
    "headers without end": _endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n" * 1_000),
    "one header without end": _endless(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x" * 65536),
    "trailers without end": _endless(CHUNKED + b"0\r\n", b"X-Trailer: value\r\n" * 1_000),
    "interim answers without end": _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "a status line without end": _endless(b"HTTP/1.1 200 ", b"O" * 65536),
}
"""As fast as the client reads."""

SLOW: Mapping[str, Script] = {
    "a body, a byte now and then": _endless(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", PAUSE_S),
    "headers, a byte now and then": _endless(b"HTTP/1.1 200 OK\r\n", b"X", PAUSE_S),
    "interim answers now and then": _endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 20 * PAUSE_S),
    "chunks now and then": _endless(CHUNKED, b"1\r\nx\r\n", PAUSE_S),
    "nothing": _silence,
}
"""Never ending, and never silent for longer than a read's timeout."""

BROKEN: Mapping[str, Script] = {
    "no HTTP": answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "a TLS alert": answering(b"\x15\x03\x01\x00\x02\x02\x46" + b"\r\n\r\n"),
    "two lengths": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a length that is no number": answering(b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}"),
    "a negative length": answering(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "a chunk size that is no number": answering(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than its size": answering(CHUNKED + b"1\r\n{}}}}\r\n0\r\n\r\n"),
    "an unknown transfer encoding": answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}"),
    "a switch of protocols": answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
    "a body that ends too early": _half_closed_within_the_answer,
    "a reset at once": _reset_at_once,
    "a reset after the request": _then_reset(b""),
    "a reset within the headers": _then_reset(b"HTTP/1.1 200 OK\r\nContent-"),
    "a reset within the body": _then_reset(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"),
}
"""No whole answer."""

_BOMB = gzip.compress(bytes(20_000_000))
BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "cut off": VALID[:-3],
    "not UTF-8": b'{"success": true, "data": "\xff\xfe"}',
    "HTML": b"<html><script>alert(1)</script></html>",
    "escape sequences": b"\x1b]0;owned\x07\x1b[2J\x1b[31mHello",
    "NaN": b'{"success": NaN, "data": NaN}',
    "Infinity": b"Infinity",
    "a deep nest": b"[" * 50_000 + b"]" * 50_000,
    "a list": b"[1, 2, 3]",
    "a number": b"5",
    "a huge number": b"9" * 5_000,
    "a text": b'"success"',
    "null": b"null",
    "wrong types": b'{"success": "yes", "data": 7, "error": {"a": [1]}, "detail": 9}',
    "null everywhere": b'{"success": null, "data": null, "error": null}',
    "a list in place of an object": b'{"success": true, "data": [null, 1, {"id": 5, "name": [], "tool_name": {}}]}',
}
"""Bodies of an answer that is otherwise correct."""

ENCODED: Mapping[str, bytes] = {
    "a gzip bomb": response(_BOMB, headers="Content-Encoding: gzip\r\n"),
    "a gzip bomb that does not say so": response(_BOMB),
    "deflate": response(b"\x78\x9c\x03\x00", headers="Content-Encoding: deflate\r\n"),
    "several encodings": response(_BOMB, headers="Content-Encoding: gzip, gzip\r\n"),
}
"""Compressed, although nobody asked for it."""
