"""Finds and reads the policy: the operator's file laid over the default that ships with this package.

Owns the search, the layering, and one message per mistake with its line. What must hold between the numbers is
`model.policy`'s.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from soak_pipeline.config.plain_yaml import MarkedYaml, read_marked_yaml
from soak_pipeline.criteria.names import CRITERION_NAMES
from soak_pipeline.model.errors import BadInput
from soak_pipeline.model.policy import Level, Policy, PolicyOfRun, Problem, Role, problems_of
from soak_pipeline.model.profile import FairnessProfile, FanoutProfile, Profile, duration_s_of
from soak_pipeline.model.request import DEFAULT_POLICY

POLICY_FILE = "soak.yaml"
POLICY_VARIABLE = "SOAK_POLICY"
DEFAULT_PATH = Path(__file__).parent / "default_policy.yaml"
MAX_FILE_BYTES = 256 * 1024

Keys = tuple[str, ...]

_LAID_OVER: tuple[Keys, ...] = (
    ("limits",),
    ("headrooms",),
    ("levels",),
    ("levels", "*"),
    ("levels", "*", "limits"),
    ("levels", "*", "fairness"),
    ("levels", "*", "fanout"),
)
"""Mappings that are laid over the default's key by key; every other value replaces it as a whole."""

_BYTES = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>B|KiB|MiB|GiB|TiB)")
_UNITS = {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_LEVEL_KEYS = ("description", "gates", "limits", "advisory")


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy as it was read.

    Attributes:
        policy: every value in place.
        path: of the file; None for the default alone.
        origins: where each value comes from, by its keys from the top: `default`, or the file's name and line.
    """

    policy: Policy
    path: Path | None
    origins: Mapping[Keys, str]

    @property
    def of_run(self) -> PolicyOfRun:
        """How a run names it."""
        return PolicyOfRun(name=_name(self.path), digest=self.policy.digest)


def find_policy(given: str, environment: Mapping[str, str], folder: Path | None = None) -> Path | None:
    """The policy file that holds: the given one, else `SOAK_POLICY`, else the nearest `soak.yaml`.

    Args:
        given: path, `default`, or empty to search.
        environment: may hold `SOAK_POLICY`.
        folder: where the search begins; it goes up to the root of the git repository. The working directory by default.

    Returns:
        None for the default that ships with this package.
    """
    named = given or environment.get(POLICY_VARIABLE) or ""
    if named:
        return None if named == DEFAULT_POLICY else Path(named).absolute()
    start = (folder or Path.cwd()).absolute()
    for place in (start, *start.parents):
        if (place / POLICY_FILE).is_file():
            return place / POLICY_FILE
        if (place / ".git").exists():
            break
    return None


def named_policy(path: Path | None) -> str:
    """How a request names a policy that was found: its path, or `default`."""
    return DEFAULT_POLICY if path is None else str(path)


@cache
def default_policy() -> PolicyFile:
    """The policy that ships with this package."""
    return read_policy(None)


def read_policy(path: Path | None) -> PolicyFile:
    """The default policy, with a file laid over it.

    Args:
        path: of the file; None for the default alone.

    Raises:
        BadInput: every problem of the file, each with its line.
    """
    shipped = read_marked_yaml(DEFAULT_PATH, "the default policy", limit_bytes=MAX_FILE_BYTES)
    origins = dict.fromkeys(shipped.lines, DEFAULT_POLICY)
    tree = shipped.data
    own = MarkedYaml(None, {})
    if path is not None:
        own = read_marked_yaml(path, f"policy {path}", limit_bytes=MAX_FILE_BYTES)
        problems = list(_shape_problems(own.data))
        if problems:
            raise BadInput(f"policy {path}", _told(problems, own))
        origins |= {keys: f"{path.name}:{line}" for keys, line in own.lines.items()}
        tree = _laid_over(tree, own.data or {}, (), origins)
    problems = []
    levels = _levels(tree, origins, problems)
    if problems:
        raise BadInput(f"policy {path}", _told(problems, own))
    tree = _in_units({**tree, "levels": levels}, ())
    tree.pop("mix", None)
    policy = msgspec.convert(tree, Policy)
    problems = list(problems_of(policy, CRITERION_NAMES))
    if problems:
        raise BadInput(f"policy {_name(path) if path is None else path}", _told(problems, own))
    return PolicyFile(policy, path, origins)


def _name(path: Path | None) -> str:
    return DEFAULT_POLICY if path is None else path.name


def _shape_problems(document: Any) -> Iterator[Problem]:
    """What in a file is no key or no value of a policy; every one of them."""
    if document is None:
        return
    # Only a file that is wrong pays for the second look; the first one is quick and stops at the first problem.
    from soak_pipeline.config.policy_schema import json_schema, policy_file_type

    try:
        msgspec.convert(document, policy_file_type())
        return
    except msgspec.ValidationError as error:
        first = str(error)
    from jsonschema import Draft202012Validator

    found = False
    for mistake in Draft202012Validator(json_schema()).iter_errors(document):
        for keys, words in _of_schema(mistake):
            found = True
            yield keys, words
    if not found:
        yield (), first


def _of_schema(error: Any) -> Iterator[Problem]:
    keys = tuple(str(key) for key in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                meant = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
                yield (*keys, key), f"is not known here{meant}"
    elif error.validator == "anyOf" and error.context:
        choices = [choice for choice in error.context if len(choice.absolute_path) > len(error.absolute_path)]
        deeper = [choice for choice in error.context if choice.validator == "additionalProperties"]
        if choices or deeper:
            for choice in (*choices, *deeper):
                yield from _of_schema(choice)
            return
        yield keys, f"is {error.instance!r}; {' or '.join(dict.fromkeys(_allowed(choice) for choice in error.context))}"
    elif error.validator == "propertyNames" or "propertyNames" in error.absolute_schema_path:
        yield (*keys, str(error.instance)), f"is no name that is allowed here: {_allowed(error)}"
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield keys, f"lacks {', '.join(missing)}"
    else:
        yield keys, f"is {error.instance!r}; {_allowed(error)}"


def _allowed(error: Any) -> str:
    from soak_pipeline.config.policy_schema import LIKE

    value = error.validator_value
    match error.validator:
        case "type":
            names = {"object": "a mapping", "array": "a list", "number": "a number", "integer": "a whole number"}
            kinds = [value] if isinstance(value, str) else value
            return "it must be " + " or ".join(names.get(kind, f"a {kind}") for kind in kinds)
        case "minimum":
            return f"it must be at least {value}"
        case "exclusiveMinimum":
            return f"it must be above {value}"
        case "maximum":
            return f"it must be at most {value:,}"
        case "enum":
            return f"allowed: {', '.join(map(str, value))}"
        case "pattern":
            return f"it must be text like {LIKE.get(value, value)}"
        case _:
            return str(error.message)


def _laid_over(below: Any, above: Any, keys: Keys, origins: dict[Keys, str]) -> Any:
    """One value over another: some mappings key by key, everything else as a whole."""
    if not isinstance(below, dict) or not isinstance(above, dict) or (keys and not _is_laid_over(keys)):
        _forget(origins, keys, above)
        return above
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _laid_over(below.get(key), value, (*keys, key), origins)
    return merged


def _is_laid_over(keys: Keys) -> bool:
    return any(
        len(keys) == len(pattern) and all(want in ("*", key) for want, key in zip(pattern, keys, strict=True))
        for pattern in _LAID_OVER
    )


def _forget(origins: dict[Keys, str], keys: Keys, value: Any) -> None:
    """Drops the origins below a value that was replaced as a whole."""
    kept = set(_paths(value, keys))
    for below in [path for path in origins if path[: len(keys)] == keys and path not in kept]:
        del origins[below]


def _paths(value: Any, keys: Keys) -> Iterator[Keys]:
    yield keys
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _paths(below, (*keys, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _paths(below, (*keys, str(index)))


def _levels(tree: Mapping[str, Any], origins: dict[Keys, str], problems: list[Problem]) -> dict[str, Any]:
    """Every level with the numbers of those that it is like, in the shape of `Level`; a level that is null is gone."""
    stored = {name: level for name, level in tree["levels"].items() if level is not None}
    tenants = tree["tenants"]
    quiet = [name for name, tenant in tenants.items() if tenant.get("role", Role.QUIET) != Role.NOISY]
    levels = {}
    for name in stored:
        merged = _like(name, stored, origins, (), problems)
        if merged is None:
            continue
        profile = {key: value for key, value in merged.items() if key not in _LEVEL_KEYS}
        profile.setdefault("mix", tree.get("mix"))
        fairness = {**profile.get("fairness", {})}
        fairness.setdefault("noisy_mix", profile["mix"])
        fanout = {"tenant": quiet[0] if quiet else "", **profile.get("fanout", {})}
        profile |= {"name": name, "fairness": fairness, "fanout": fanout}
        problems += _missing(("levels", name), profile, merged)
        levels[name] = {**{key: merged[key] for key in _LEVEL_KEYS if key in merged}, "profile": profile}
    return levels


def _like(
    name: str, stored: Mapping[str, Any], origins: dict[Keys, str], seen: Keys, problems: list[Problem]
) -> dict[str, Any] | None:
    """A level over the one that it is like; None, with the problem told, where there is no such level."""
    keys = ("levels", name)
    own = {key: value for key, value in stored[name].items() if key != "like"}
    parent = stored[name].get("like")
    if parent is None:
        return own
    if parent not in stored:
        problems.append(((*keys, "like"), f"names {parent!r}, which is no level; known: {', '.join(stored)}"))
        return None
    if parent in (*seen, name):
        problems.append(((*keys, "like"), f"leads back to itself: {' -> '.join((*seen, name, parent))}"))
        return None
    below = _like(parent, stored, origins, (*seen, name), problems)
    if below is None:
        return None
    own_origins = {path: origin for path, origin in origins.items() if path[:2] == keys}
    for path in _paths(below, ("levels", parent)):
        mirrored = (*keys, *path[2:])
        if path in origins and mirrored not in own_origins:
            origins[mirrored] = f"{origins[path].split(', like ')[0]}, like {parent}"
    return dict(_laid_over(below, own, keys, origins))


def _missing(keys: Keys, profile: Mapping[str, Any], merged: Mapping[str, Any]) -> Iterator[Problem]:
    parts: tuple[tuple[Keys, type[msgspec.Struct], Mapping[str, Any]], ...] = (
        ((), Profile, profile),
        (("fairness",), FairnessProfile, profile["fairness"]),
        (("fanout",), FanoutProfile, profile["fanout"]),
    )
    lacks = [".".join((*part, name)) for part, kind, has in parts for name in kind.__struct_fields__ if name not in has]
    lacks += [name for name in Level.__struct_fields__[:2] if name not in merged]
    if lacks:
        yield keys, (f"lacks {', '.join(lacks)}; say them, or take the numbers of another level with `like: nightly`")


def _in_units(value: Any, keys: Keys) -> Any:
    """Text such as `60m` or `480 MiB` as seconds and bytes."""
    if isinstance(value, dict):
        return {key: _in_units(below, (*keys, key)) for key, below in value.items()}
    if not isinstance(value, str) or not keys:
        return value
    if keys[-1].endswith("_s"):
        return duration_s_of(value)
    if "_bytes" in keys[-1] and (match := _BYTES.fullmatch(value)):
        return float(match["number"]) * _UNITS[match["unit"]]
    return value


def _told(problems: list[Problem], own: MarkedYaml) -> list[str]:
    """One sentence per problem, in the order of the file, with the line it is on."""
    told = []
    for keys, words in problems:
        known = keys
        while known and known not in own.lines:
            known = known[:-1]
        line = own.lines.get(known)
        told.append((line or 0, f"{f'line {line}: ' if line else ''}{'.'.join(keys) or 'the file'} {words}"))
    return [text for _, text in sorted(dict.fromkeys(told))]
