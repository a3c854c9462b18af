"""What became of a request: (operation, status, body) -> outcome. Pure, strict, and the only place that decides.

Every JSON body is parsed whole: a typed decoder that skips what it is not asked for costs one or two microseconds,
and nothing less finds a body that was cut off or damaged in the middle. Redirects are never followed; one is an
unexpected answer. A body is never searched for text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from soak_pipeline.model.traffic import KIND_OF, Kind, Operation, Outcome

# Bound once: looking a member up on its class is slow, and this runs for every request.
_OK, _MALFORMED = Outcome.OK, Outcome.MALFORMED
_NO_ANSWER = (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError)

_MISC_STATUS: Mapping[Operation, int] = {
    Operation.MISC_UNKNOWN_TOOL: 403,
    Operation.MISC_OVERSIZE: 413,
    Operation.MISC_BAD_TOKEN: 401,
    Operation.MISC_NO_TOKEN: 401,
    Operation.MISC_HEALTH: 200,
}


def _expected_status(operation: Operation) -> int:
    if operation in _MISC_STATUS:
        return _MISC_STATUS[operation]
    return 403 if KIND_OF[operation] is Kind.DENIED else 200


EXPECTED_STATUS: Mapping[Operation, int] = {operation: _expected_status(operation) for operation in Operation}
"""The only right status of each operation."""


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


class _Chain(msgspec.Struct):
    valid: bool


class _ChainAnswer(msgspec.Struct):
    success: bool
    data: _Chain


class _RowsAnswer(msgspec.Struct):
    success: bool
    data: _Rows


class _Health(msgspec.Struct):
    status: str


class _Token(msgspec.Struct):
    success: bool


_EXECUTED = msgspec.json.Decoder(_Executed)
_DENIAL = msgspec.json.Decoder(_Denial)
_ANSWER = msgspec.json.Decoder(_Answer)
_ROWS_ANSWER = msgspec.json.Decoder(_RowsAnswer)
_CHAIN_ANSWER = msgspec.json.Decoder(_ChainAnswer)
_HEALTH = msgspec.json.Decoder(_Health)
_TOKEN = msgspec.json.Decoder(_Token)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def _is_execution(body: bytes, request_id: str) -> bool:
    answer = _EXECUTED.decode(body)
    return answer.success and answer.request_id == request_id


def _is_denial(body: bytes, _request_id: str) -> bool:
    """Both documented envelopes: `{success: false, error, ...}`, and `{error, detail}` of the role check."""
    answer = _DENIAL.decode(body)
    return bool(answer.error) and (answer.success is False or (answer.success is None and answer.detail is not None))


def _is_rows(body: bytes, _request_id: str) -> bool:
    return _ROWS_ANSWER.decode(body).success


def _is_data(body: bytes, _request_id: str) -> bool:
    """An enveloped object or list, as the platform's services answer, or a bare one, as a few of them do."""
    if body[:1] == b"[":
        _LIST.decode(body)
        return True
    document = _OBJECT.decode(body)
    if "success" not in document:
        return bool(document)
    return _ANSWER.decode(body).success and bytes(document["data"])[:1] in (b"{", b"[")


def _is_chain_answer(body: bytes, _request_id: str) -> bool:
    """Whether the chain is valid is for the chain's criterion; here it has to be said at all."""
    return _CHAIN_ANSWER.decode(body).success


def _is_health(body: bytes, _request_id: str) -> bool:
    return _HEALTH.decode(body).status in ("healthy", "ok")


def _is_token(body: bytes, _request_id: str) -> bool:
    return _TOKEN.decode(body).success


def _body_check(operation: Operation) -> Callable[[bytes, str], bool]:
    if EXPECTED_STATUS[operation] != 200:
        return _is_denial
    special: dict[Operation, Callable[[bytes, str], bool]] = {
        Operation.EXECUTE: _is_execution,
        Operation.VERIFY_CHAIN: _is_chain_answer,
        Operation.READ_AUDIT_LOGS: _is_rows,
        Operation.READ_AUDIT_SEARCH: _is_rows,
        Operation.MISC_HEALTH: _is_health,
        Operation.LOGIN: _is_token,
        Operation.REFRESH: _is_token,
    }
    return special.get(operation, _is_data)


_RULES: Mapping[Operation, tuple[int, Callable[[bytes, str], bool]]] = {
    operation: (EXPECTED_STATUS[operation], _body_check(operation)) for operation in Operation
}


def classify(operation: Operation, status: int, body: bytes, request_id: str) -> Outcome:
    """The outcome of one answered request.

    Args:
        operation: what was asked.
        status: HTTP status of the answer.
        body: its whole body, not compressed.
        request_id: of the request; an execution must echo it.
    """
    expected, is_right = _RULES[operation]
    if status == expected:
        try:
            if not body.isascii():
                # The decoder does not look into texts that it skips.
                body.decode()
            return _OK if is_right(body, request_id) else _MALFORMED
        except _NO_ANSWER:
            return _MALFORMED
    return _unexpected(expected, status)


def _unexpected(expected: int, status: int) -> Outcome:
    if 200 <= status < 300:
        # Where 200 is right, another 2xx claims success in a form that nobody specified.
        return Outcome.MALFORMED if expected == 200 else Outcome.WRONGLY_ALLOWED
    if status == 429:
        return Outcome.THROTTLED
    if expected == 200 and status in (401, 402, 403):
        return Outcome.WRONGLY_DENIED
    if 300 <= status < 500:
        return Outcome.CLIENT_ERROR
    if 500 <= status < 600:
        return Outcome.SERVER_ERROR
    return Outcome.MALFORMED
