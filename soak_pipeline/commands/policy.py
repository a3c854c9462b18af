"""`soak policy ...`: writes, shows, checks and compares policies. Owns the words; sends nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from soak_pipeline.config.policy_file import DEFAULT_PATH, PolicyFile, find_policy, read_policy
from soak_pipeline.model.errors import EXIT_FAIL, EXIT_PASS, BadInput
from soak_pipeline.model.request import DEFAULT_POLICY
from soak_pipeline.model.stored import differences_of

SCHEMA_PATH = DEFAULT_PATH.with_name("policy.schema.json")
_INDENT = "  "


def init_policy(path: Path) -> int:
    """Writes the default policy, with its comments, as a file to start from.

    Raises:
        BadInput: the file exists already.
    """
    text = f"# yaml-language-server: $schema={SCHEMA_PATH.name}\n{DEFAULT_PATH.read_text(encoding='utf-8')}"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"policy {path}", ["exists already; name another file, or edit it"]) from None
    path.with_name(SCHEMA_PATH.name).write_text(SCHEMA_PATH.read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{path} holds the default policy; change what differs, then: soak policy check {path}")
    return EXIT_PASS


def show_policy(given: str, environment: Mapping[str, str], *, level: str | None, format_name: str) -> int:
    """Prints the effective policy, or one level of it, with the origin of each value.

    Raises:
        BadInput: every problem of the file; an unknown level.
    """
    file = read_policy(find_policy(given, environment))
    shown: Any = msgspec.to_builtins(file.policy if level is None else file.policy.level(level))
    if format_name == "json":
        document = {"policy": file.of_run.name, "digest": file.policy.digest, "values": shown}
        print(json.dumps(document, indent=2))
        return EXIT_PASS
    print(f"# policy {file.path or DEFAULT_POLICY}, digest {file.policy.digest}")
    for line in _lines(_as_in_a_file(shown), (), lambda keys: _origin(file, level, keys)):
        print(line)
    return EXIT_PASS


def check_policy(given: str, environment: Mapping[str, str]) -> int:
    """Says that a policy is in order, and what it holds.

    Raises:
        BadInput: every problem of the file.
    """
    file = read_policy(find_policy(given, environment))
    policy = file.policy
    print(
        f"policy {file.path or DEFAULT_POLICY} is in order: {len(policy.tenants)} tenants "
        f"({policy.noisy_tenant} is the noisy one), levels {', '.join(policy.levels)}; "
        f"{', '.join(policy.gating_levels) or 'none'} of them gate; digest {policy.digest[:12]}"
    )
    return EXIT_PASS


def diff_policies(one: str, other: str) -> int:
    """Prints each value in which two policies differ.

    Returns:
        0: they say the same; 1: they do not.

    Raises:
        BadInput: every problem of either file.
    """
    files = [read_policy(find_policy(given, {})) for given in (one, other)]
    first, second = (_as_in_a_file(msgspec.to_builtins(file.policy)) for file in files)
    differences = differences_of(first, second)
    for keys, (before, after) in differences.items():
        print(f"{keys}: {_word(before)} -> {_word(after)}")
    if not differences:
        print(f"{one} and {other} say the same (digest {files[0].policy.digest[:12]})")
    return EXIT_FAIL if differences else EXIT_PASS


def print_schema() -> int:
    """Prints the JSON Schema of a policy file."""
    print(SCHEMA_PATH.read_text(encoding="utf-8"), end="")
    return EXIT_PASS


def _as_in_a_file(shown: Any) -> Any:
    """A policy with the levels' numbers where a file has them: beside the level's own keys."""
    if "profile" in shown:
        shown = {**shown, **shown["profile"]}
        del shown["profile"]
        shown.pop("name")
        return {key: value for key, value in shown.items() if value is not None}
    return {**shown, "levels": {name: _as_in_a_file(level) for name, level in shown["levels"].items()}}


def _origin(file: PolicyFile, level: str | None, keys: tuple[str, ...]) -> str:
    """Where a value comes from; of what is not in a file itself, where the value around it does."""
    places = (
        [keys]
        if level is None
        else [("levels", level, *keys), ("levels", level, *_in_level(keys)), keys, _in_level(keys)]
    )
    for place in places:
        if place in file.origins:
            return file.origins[place]
    return "default" if file.path is None else "derived"


def _in_level(keys: tuple[str, ...]) -> tuple[str, ...]:
    return ("limits", *keys[1:]) if keys[0] == "thresholds" else keys


def _lines(value: Any, keys: tuple[str, ...], origin: Any) -> Iterator[str]:
    """A mapping as YAML, each value followed by where it comes from."""
    for key, below in value.items():
        place = (*keys, str(key))
        indent = _INDENT * len(keys)
        if isinstance(below, dict) and below:
            yield f"{indent}{key}:"
            yield from _lines(below, place, origin)
        else:
            yield f"{f'{indent}{key}: {_word(below)}':<56} # {origin(place)}"


def _word(value: Any) -> str:
    return "none" if value is None else json.dumps(value)
