"""Reads the YAML files that an operator writes: small, plain data, and nothing that could be meant otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from soak_pipeline.model.errors import BadInput


@dataclass(frozen=True, slots=True)
class MarkedYaml:
    """A document, and where each of its values stands.

    Attributes:
        data: the content; None for an empty file.
        lines: line (from 1) of each value, by its keys from the top.
    """

    data: Any
    lines: dict[tuple[str, ...], int]


def read_plain_yaml(path: Path, subject: str, *, limit_bytes: int) -> Any:
    """The content of a YAML file, and so of a JSON file; see `read_marked_yaml`."""
    return read_marked_yaml(path, subject, limit_bytes=limit_bytes).data


def read_marked_yaml(path: Path, subject: str, *, limit_bytes: int) -> MarkedYaml:
    """The content of a YAML file, and so of a JSON file, with the line of each value.

    Args:
        path: of the file.
        subject: begins the message of an error.
        limit_bytes: a larger file is refused.

    Raises:
        BadInput: unreadable, too large, no YAML, or YAML with an alias, a repeated key or a key that is not text; the
            message names line and column.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise BadInput(subject, [f"cannot be read: {error.strerror or type(error).__name__}"]) from None
    if len(data) > limit_bytes:
        raise BadInput(subject, [f"is larger than {limit_bytes:,} bytes; it needs a few dozen lines"])
    try:
        loader = _StrictLoader(data.decode())
        try:
            node = loader.get_single_node()
            if node is None:
                return MarkedYaml(None, {})
            content = loader.construct_document(node)
            return MarkedYaml(content, dict(_lines(node, ())))
        finally:
            loader.dispose()
    except UnicodeDecodeError:
        raise BadInput(subject, ["is not UTF-8 text"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadInput(subject, [f"is not plain YAML: {where}{error.problem}"]) from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise BadInput(subject, [f"is not plain YAML: {type(error).__name__}"]) from None


def _lines(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            yield from _lines(value, below)
            # A value that is a block begins a line below its key.
            yield below, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, str(index)))


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without what such a file never needs: anchors, which can blow up a small file, and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a key is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is repeated", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
