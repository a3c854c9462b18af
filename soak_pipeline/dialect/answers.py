"""Which status and which body each operation must be answered with.

Every JSON body is parsed whole: a typed decoder that skips what it is not asked for costs one or two microseconds,
and nothing less finds a body that was cut off or damaged in the middle. A body is never searched for text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

BodyCheck = Callable[[bytes, str], bool]
"""(body, request id) -> whether the body is right; raises a decoding error, or KeyError, where it is none."""


class AnswerRule(NamedTuple):
    """The only right answer of an operation."""

    status: int
    is_right: BodyCheck


class _Executed(msgspec.Struct):
    success: bool
    request_id: str
    action: str


class _Denial(msgspec.Struct):
    error: str
    success: bool | None = None
    detail: str | None = None


class _Answer(msgspec.Struct):
    success: bool
    data: msgspec.Raw


class _Rows(msgspec.Struct):
    items: list[msgspec.Raw]


class _RowsAnswer(msgspec.Struct):
    success: bool
    data: _Rows


class _Valid(msgspec.Struct):
    valid: bool


class _ChainAnswer(msgspec.Struct):
    success: bool
    data: _Valid


class _Health(msgspec.Struct):
    status: str


class _Success(msgspec.Struct):
    success: bool


_EXECUTED = msgspec.json.Decoder(_Executed)
_DENIAL = msgspec.json.Decoder(_Denial)
_ANSWER = msgspec.json.Decoder(_Answer)
_ROWS_ANSWER = msgspec.json.Decoder(_RowsAnswer)
_CHAIN_ANSWER = msgspec.json.Decoder(_ChainAnswer)
_HEALTH = msgspec.json.Decoder(_Health)
_SUCCESS = msgspec.json.Decoder(_Success)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def is_execution(body: bytes, request_id: str) -> bool:
    """An executed call, which echoes its request id."""
    answer = _EXECUTED.decode(body)
    return answer.success and answer.request_id == request_id


def is_denial(body: bytes, _request_id: str) -> bool:
    """Both documented envelopes: `{success: false, error, ...}`, and `{error, detail}` of the role check."""
    answer = _DENIAL.decode(body)
    return bool(answer.error) and (answer.success is False or (answer.success is None and answer.detail is not None))


def is_rows(body: bytes, _request_id: str) -> bool:
    """A page of rows."""
    return _ROWS_ANSWER.decode(body).success


def is_data(body: bytes, _request_id: str) -> bool:
    """An enveloped object or list, as the platform's services answer, or a bare one, as a few of them do."""
    if body[:1] == b"[":
        _LIST.decode(body)
        return True
    document = _OBJECT.decode(body)
    if "success" not in document:
        return bool(document)
    return _ANSWER.decode(body).success and bytes(document["data"])[:1] in (b"{", b"[")


def is_chain_answer(body: bytes, _request_id: str) -> bool:
    """Whether the chain is valid is for the chain's criterion; here it has to be said at all."""
    return _CHAIN_ANSWER.decode(body).success


def is_health(body: bytes, _request_id: str) -> bool:
    """A healthy service."""
    return _HEALTH.decode(body).status in ("healthy", "ok")


def is_token(body: bytes, _request_id: str) -> bool:
    """A successful sign-in; the token itself is looked for elsewhere."""
    return _SUCCESS.decode(body).success


class ChainOpinion(msgspec.Struct):
    """What the platform says of a tenant's chain; the list of violations may be empty although the chain is invalid."""

    valid: bool
    processed_count: int
    error_count: int
    violations: list[object] | int = []
