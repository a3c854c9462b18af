"""Documents that another version of this package stored: their digest as it was then, and where their shape differs.

A type gains fields with time. A document that lacks them is still what was written, and is told from one that was
damaged by the digest over the fields that it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

_SEQUENCES = (list, tuple)


@dataclass(frozen=True, slots=True)
class StoredShape:
    """A stored document, held against the type that this version reads it as.

    Attributes:
        digest: SHA-256 (hex) of the canonical JSON of the fields that the document has.
        lacks: fields that this version writes and the document does not have, such as `profile.pace_s`.
        unknown: fields that the document has and this version does not know.
    """

    digest: str
    lacks: tuple[str, ...]
    unknown: tuple[str, ...]


def stored_shape(
    document: bytes,
    kind: type[msgspec.Struct],
    upgrade: Callable[[Any], Any] = lambda stored: stored,
    **replaced: object,
) -> StoredShape:
    """The digest and the shape of a stored document.

    Args:
        document: JSON as it was stored.
        kind: what this version reads it as.
        upgrade: adds to a decoded document of an older version what this version must find in it.
        replaced: values that take the place of the document's own before the digest is taken, where it has them.

    Raises:
        msgspec.DecodeError: it is no such document.
    """
    stored = msgspec.json.decode(document)
    read = msgspec.to_builtins(msgspec.convert(upgrade(stored), kind), order="deterministic")
    known = _only_what_is_in(stored, {**read, **replaced})
    return StoredShape(
        digest=hashlib.sha256(msgspec.json.encode(known)).hexdigest(),
        lacks=tuple(dict.fromkeys(_names_missing(read, stored))),
        unknown=tuple(dict.fromkeys(_names_missing(stored, read))),
    )


def different_fields(one: msgspec.Struct, other: msgspec.Struct) -> dict[str, tuple[object, object]]:
    """The fields in which two values of one type differ, such as `fairness.window_s`, with both values."""
    return differences_of(msgspec.to_builtins(one), msgspec.to_builtins(other))


def differences_of(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """The keys in which two mappings differ, at any depth, with both values; None where one of them has no such key."""
    return dict(_differences(one, other))


def _only_what_is_in(stored: object, read: object) -> object:
    if isinstance(read, dict) and isinstance(stored, dict):
        return {name: _only_what_is_in(stored[name], value) for name, value in read.items() if name in stored}
    if isinstance(read, _SEQUENCES) and isinstance(stored, list):
        return [_only_what_is_in(before, value) for before, value in zip(stored, read, strict=True)]
    return read


def _names_missing(whole: object, part: object, prefix: str = "") -> Iterator[str]:
    """Names that stand in `whole` and not at the same place in `part`."""
    if isinstance(whole, dict) and isinstance(part, dict):
        for name, value in whole.items():
            if name in part:
                yield from _names_missing(value, part[name], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"
    elif isinstance(whole, _SEQUENCES) and isinstance(part, _SEQUENCES):
        for value, counterpart in zip(whole, part, strict=True):
            yield from _names_missing(value, counterpart, prefix)


def _differences(one: object, other: object, name: str = "") -> Iterator[tuple[str, tuple[object, object]]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif one != other:
        yield name, (one, other)
