"""The shape of a policy file, derived from the policy's types: what `check` holds a file against, and its JSON Schema.

In a file nothing is required: what is left out comes from the default or from the level that `like` names.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from soak_pipeline.model.policy import LEVEL_NAME, TENANT_NAME, Level, Policy, TenantPolicy
from soak_pipeline.model.profile import FairnessProfile, FanoutProfile, Mix, Profile
from soak_pipeline.model.series import LEAK_SERIES
from soak_pipeline.model.thresholds import Thresholds
from soak_pipeline.model.traffic import Kind

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
DURATION_PATTERN = r"^(?=\d)(\d+h)?(\d+m)?(\d+s?)?$"
BYTES_PATTERN = r"^\d+(\.\d+)? ?(B|KiB|MiB|GiB|TiB)$"
LIKE = {DURATION_PATTERN: "90s, 60m or 1h30m", BYTES_PATTERN: "480 MiB"}
"""What a text of each pattern looks like, for a person."""


_Duration = Annotated[str, Meta(pattern=DURATION_PATTERN)]
_Bytes = Annotated[str, Meta(pattern=BYTES_PATTERN)]
_Headroom = Annotated[float, Meta(gt=0)]


def documented(kind: type) -> dict[str, str]:
    """What a docstring's `Attributes:` section says of each field, on one line."""
    sections = inspect.cleandoc(kind.__doc__ or "").split("Attributes:\n")
    if len(sections) < 2:
        return {}
    entries = re.split(r"^    (?=[\w, ]+: )", sections[1], flags=re.MULTILINE)[1:]
    texts: dict[str, str] = {}
    for entry in entries:
        names, text = entry.split(": ", 1)
        texts |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return texts


def in_a_file(name: str, kind: Any) -> Any:
    """How a field of the policy is written in a file: a length also as `60m`, bytes also as `480 MiB`."""
    if name.endswith("_s"):
        return kind | _Duration
    if "_bytes" in name:
        return kind | _Bytes
    return kind


def _of_a_file(
    name: str, kind: type[msgspec.Struct], replaced: Mapping[str, Any], also: Mapping[str, Any], without: set[str]
) -> Any:
    """A type like `kind` in which nothing is required."""
    texts = documented(kind)
    hints = get_type_hints(kind, include_extras=True)
    fields = {field: replaced.get(field, in_a_file(field, hints[field])) for field in kind.__struct_fields__}
    described = {
        field: Annotated[spelt, Meta(description=texts[field])] if field in texts else spelt
        for field, spelt in {**fields, **also}.items()
        if field not in without
    }
    return msgspec.defstruct(
        name,
        [(field, spelt | UnsetType, UNSET) for field, spelt in described.items()],
        namespace={"__doc__": inspect.cleandoc(kind.__doc__ or "").split("\n")[0]},
        kw_only=True,
        forbid_unknown_fields=True,
    )


@functools.cache
def policy_file_type() -> Any:
    """The type of a policy file."""
    limits = _of_a_file("Limits", Thresholds, {}, {}, set())
    fairness = _of_a_file("Fairness", FairnessProfile, {}, {}, set())
    fanout = _of_a_file("Fanout", FanoutProfile, {}, {}, set())
    like = Annotated[str, Meta(description="the level whose numbers this one takes; what it says itself wins")]
    level = _of_a_file(
        "LevelOfFile",
        Level,
        {"limits": limits},
        {
            "like": like,
            **{
                field: Annotated[spelt, Meta(description=documented(Profile)[field])]
                for field, spelt in _profile_fields(fairness, fanout).items()
            },
        },
        {"profile"},
    )
    tenant = msgspec.defstruct(
        "TenantOfFile",
        [
            ("share", _described(TenantPolicy, "share")),
            ("role", _described(TenantPolicy, "role") | UnsetType, UNSET),
            ("rpm_limit", _described(TenantPolicy, "rpm_limit") | UnsetType, UNSET),
            ("limits", Annotated[limits, Meta(description=documented(TenantPolicy)["limits"])] | UnsetType, UNSET),
        ],
        namespace={"__doc__": "One tenant."},
        kw_only=True,
        forbid_unknown_fields=True,
    )
    headrooms = msgspec.defstruct(
        "Headrooms",
        [
            (name, Annotated[in_a_file(name, _Headroom), Meta(description=series.resource)] | UnsetType, UNSET)
            for name, series in LEAK_SERIES.items()
        ],
        namespace={"__doc__": "Growth over the leak horizon that is still healthy, by series."},
        kw_only=True,
        forbid_unknown_fields=True,
    )
    level_name = Annotated[str, Meta(pattern=f"^{LEVEL_NAME.pattern}$")]
    tenant_name = Annotated[str, Meta(pattern=f"^{TENANT_NAME.pattern}$")]
    return _of_a_file(
        "PolicyFile",
        Policy,
        {
            "tenants": dict[tenant_name, tenant],  # type: ignore[valid-type]
            "limits": limits,
            "headrooms": headrooms,
            "levels": dict[level_name, level | None],  # type: ignore[valid-type]
        },
        {"mix": Annotated[Mix, Meta(description="share of each kind among a user's requests (0..1, sum 1)")]},
        set(),
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file (draft 2020-12), for editors and other tools."""
    schema = msgspec.json.schema(policy_file_type())
    for definition in schema["$defs"].values():
        for name, value in definition.get("properties", {}).items():
            if name.endswith("mix"):
                value["propertyNames"] = {"enum": list(Kind)}
    return {"$schema": SCHEMA_ID, "title": "Soak policy", **schema}


def _profile_fields(fairness: Any, fanout: Any) -> dict[str, Any]:
    hints = get_type_hints(Profile, include_extras=True)
    fields = {name: in_a_file(name, hints[name]) for name in Profile.__struct_fields__ if name != "name"}
    return {**fields, "fairness": fairness, "fanout": fanout}


def _described(kind: type, field: str) -> Any:
    return Annotated[get_type_hints(kind, include_extras=True)[field], Meta(description=documented(kind)[field])]
