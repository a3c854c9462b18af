"""What became of a request: (rules, operation, status, body) -> outcome. Pure, strict, and the only place that decides.

Which status and body are right is the dialect's. Redirects are never followed; one is an unexpected answer.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from soak_pipeline.dialect.answers import AnswerRule
from soak_pipeline.model.traffic import Operation, Outcome

# Bound once: looking a member up on its class is slow, and this runs for every request.
_OK, _MALFORMED = Outcome.OK, Outcome.MALFORMED
_NO_ANSWER = (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError)


def classify(
    rules: Mapping[Operation, AnswerRule], operation: Operation, status: int, body: bytes, request_id: str
) -> Outcome:
    """The outcome of one answered request.

    Args:
        rules: the right answer of each operation.
        operation: what was asked.
        status: HTTP status of the answer.
        body: its whole body, not compressed.
        request_id: of the request; an execution must echo it.
    """
    expected, is_right = rules[operation]
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
