"""A document of another version keeps its digest, and its shape is told."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from soak_pipeline.model.plan import Plan, plan_hash, plan_hash_as_stored
from soak_pipeline.model.stored import different_fields, stored_shape
from soak_pipeline_tests.model.test_plan import _plan
from soak_pipeline_tests.policies import profile_of


class Inner(msgspec.Struct):
    name: str
    added: int = 0


class Outer(msgspec.Struct):
    inner: Inner
    shares: dict[str, float]
    parts: tuple[Inner, ...] = ()
    digest: str = ""


def _shape(document: dict[str, Any], **replaced: object) -> Any:
    return stored_shape(msgspec.json.encode(document), Outer, **replaced)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_document_of_this_version_has_the_digest_of_its_canonical_json() -> None:
    outer = Outer(Inner("a", 1), {"y": 0.5, "x": 1}, (Inner("b"),))
    shape = stored_shape(msgspec.json.format(msgspec.json.encode(outer), indent=2), Outer)
    assert shape.digest == _sha256(
        '{"inner":{"name":"a","added":1},"shares":{"x":1.0,"y":0.5},"parts":[{"name":"b","added":0}],"digest":""}'
    )
    assert (shape.lacks, shape.unknown) == ((), ())


def test_fields_that_a_document_lacks_are_not_in_its_digest_and_are_named() -> None:
    shape = _shape({"inner": {"name": "a"}, "shares": {}, "parts": [{"name": "b"}, {"name": "c"}]})
    assert shape.digest == _sha256('{"inner":{"name":"a"},"shares":{},"parts":[{"name":"b"},{"name":"c"}]}')
    assert shape.lacks == ("inner.added", "parts.added", "digest")


def test_fields_that_are_not_known_are_named() -> None:
    shape = _shape(
        {"inner": {"name": "a", "added": 0, "new": 1}, "shares": {"own": 1}, "parts": [], "digest": "x", "z": {}}
    )
    assert shape.unknown == ("inner.new", "z")
    assert shape.lacks == ()


def test_a_value_is_replaced_only_where_the_document_has_it() -> None:
    with_digest = {"inner": {"name": "a"}, "shares": {}, "digest": "abc"}
    assert _shape(with_digest, digest="").digest == _sha256('{"inner":{"name":"a"},"shares":{},"digest":""}')
    del with_digest["digest"]
    assert _shape(with_digest, digest="").digest == _sha256('{"inner":{"name":"a"},"shares":{}}')


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"inner": 1, "shares": {}}'])
def test_what_is_no_such_document_is_refused(document: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        stored_shape(document, Outer)


def test_the_hash_of_a_stored_plan_is_that_of_the_version_that_froze_it() -> None:
    """The older version's own type is built here, with one field less, and freezes the plan."""
    plan = _plan()
    older_type = msgspec.defstruct(
        "Plan", [(field.name, field.type) for field in msgspec.structs.fields(Plan) if field.name != "format_version"]
    )
    older = older_type(**{name: getattr(plan, name) for name in older_type.__struct_fields__})
    document = msgspec.json.format(msgspec.json.encode(older), indent=2)
    assert plan_hash_as_stored(document) == plan_hash(older) != plan_hash(plan)
    assert plan_hash_as_stored(msgspec.json.encode(plan)) == plan_hash(plan)


@pytest.mark.parametrize(
    "where", [(), ("profile",), ("profile", "fairness"), ("target",), ("thresholds",), ("tenants", 0)]
)
def test_a_plan_with_an_unknown_field_is_refused_with_its_name(where: tuple[Any, ...]) -> None:
    document = msgspec.to_builtins(_plan())
    part: Any = document
    for step in where:
        part = part[step]
    part["ramp_s"] = 3
    with pytest.raises(msgspec.ValidationError, match="unknown field `ramp_s`"):
        plan_hash_as_stored(msgspec.json.encode(document))


def test_different_fields_are_named_with_both_values() -> None:
    smoke, nightly = profile_of("smoke"), profile_of("nightly")
    assert different_fields(smoke, smoke) == {}
    changed = different_fields(smoke, nightly)
    assert changed["users"] == (100, 1000)
    assert changed["fairness.window_s"] == (smoke.fairness.window_s, nightly.fairness.window_s)
    assert "fairness" not in changed
