"""Reading the sample answers that the load kept of unexpected outcomes, one per kind.

They only illustrate: counts come from the request records, so a file that is missing or damaged costs a text and
nothing else. What is read is the platform's own text; whoever shows it has to make it safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

Texts = dict[tuple[str, str, int], str]
"""Start of the first answer's body by (operation, outcome, status)."""


class _Sample(msgspec.Struct):
    """The part of a sample that is read; the first of several load workers to have seen a kind gives the text."""

    operation: str
    outcome: str
    status: int
    first_us: int
    text: str


def read_error_texts(control_dir: Path) -> Texts:
    """The earliest sample text of each kind of error; kinds without a text are absent."""
    texts: Texts = {}
    for sample in sorted(_samples(control_dir), key=lambda sample: sample.first_us):
        if sample.text:
            texts.setdefault((sample.operation, sample.outcome, sample.status), sample.text)
    return texts


def _samples(control_dir: Path) -> Iterator[_Sample]:
    for path in sorted(control_dir.glob("samples-*.json")):
        try:
            yield from msgspec.json.decode(path.read_bytes(), type=list[_Sample])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
