"""One sample answer per kind of unexpected outcome, with first, last and count: the source of `errors.log`.

Owns what is kept of an answer's text: little, without control characters, without anything that looks like a token.
"""

from __future__ import annotations

import re

import msgspec

from soak_pipeline.load.sender.client import Reply
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation, Outcome

MAX_KINDS = 200
MAX_TEXT = 300

_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|[A-Za-z0-9+/_=-]{40,}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\uffff]+")


class Sample(msgspec.Struct, kw_only=True):
    """One kind of unexpected outcome in one load process.

    Attributes:
        operation, outcome, status: which kind.
        first_us, last_us: when such a request was first and last sent, microseconds since the plan's epoch.
        count: how many.
        text: start of the first one's body, cleaned.
    """

    operation: str
    outcome: str
    status: int
    first_us: int
    last_us: int
    count: int
    text: str


class SampleBook:
    """The samples of one process; memory is bounded by `MAX_KINDS`, what comes beyond is counted in `overflow`."""

    def __init__(self) -> None:
        self._samples: dict[tuple[Operation, Outcome, int], Sample] = {}
        self.overflow = 0

    def add(self, operation: Operation, outcome: Outcome, reply: Reply, start_us: int) -> None:
        """Counts one unexpected answer."""
        key = (operation, outcome, reply.status)
        sample = self._samples.get(key)
        if sample is not None:
            sample.count += 1
            sample.last_us = start_us
        elif len(self._samples) < MAX_KINDS:
            self._samples[key] = Sample(
                operation=operation,
                outcome=outcome,
                status=reply.status,
                first_us=start_us,
                last_us=start_us,
                count=1,
                # An answer to a login may hold a token in any form.
                text="" if KIND_OF[operation] is Kind.AUTH else clean_text(reply.body),
            )
        else:
            self.overflow += 1

    def encoded(self) -> bytes:
        """The samples as a JSON list of `Sample`."""
        return msgspec.json.encode(list(self._samples.values()))


def clean_text(body: bytes) -> str:
    """The start of a body as one printable line; what looks like a token or key is replaced."""
    text = body[: 4 * MAX_TEXT].decode("utf-8", "replace")
    return _TOKEN.sub("[removed]", _UNPRINTABLE.sub(" ", text))[:MAX_TEXT].strip()
