"""What becomes of each answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soak_pipeline.dialect.platforms import nominal
from soak_pipeline.load.sender.classify import classify
from soak_pipeline.model.traffic import KIND_OF, Kind, Operation, Outcome

ANSWERS = nominal.DIALECT.answers
REQUEST_ID = "2f0d1c52-5d0c-4e52-8f2c-6a3b1d1c0e11"
EXECUTED = {"success": True, "request_id": REQUEST_ID, "action": "allow", "risk": 0.1, "findings": []}
DENIED = {"success": False, "error": "Security: Prompt injection detected", "meta": {"code": 403}}
ROWS = {"success": True, "data": {"total": 1, "items": [{"id": "x"}]}, "error": None, "meta": None}
CHAIN = {"success": True, "data": {"valid": True, "processed_count": 3, "error_count": 0, "violations": []}}
TOKEN = {"success": True, "data": {"access_token": "a.b.c", "expires_in": 900}}


def right_answer(operation: Operation) -> Any:
    if ANSWERS[operation].status != 200:
        return DENIED
    special = {
        Operation.EXECUTE: EXECUTED,
        Operation.READ_AUDIT_LOGS: ROWS,
        Operation.READ_AUDIT_SEARCH: ROWS,
        Operation.VERIFY_CHAIN: CHAIN,
        Operation.MISC_HEALTH: {"status": "healthy"},
        Operation.LOGIN: TOKEN,
        Operation.REFRESH: TOKEN,
    }
    return special.get(operation, {"success": True, "data": [{"id": 1}]})


def outcome(operation: Operation, status: int, answer: Any) -> Outcome:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return classify(ANSWERS, operation, status, body, REQUEST_ID)


@pytest.mark.parametrize("operation", Operation)
def test_the_right_answer_is_ok(operation: Operation) -> None:
    assert outcome(operation, ANSWERS[operation].status, right_answer(operation)) is Outcome.OK


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("cut", [1, 0.5, 0.0])
def test_a_right_status_with_a_cut_off_body_is_malformed(operation: Operation, cut: float) -> None:
    body = json.dumps(right_answer(operation)).encode()
    kept = len(body) - 1 if cut == 1 else int(len(body) * cut)
    assert classify(ANSWERS, operation, ANSWERS[operation].status, body[:kept], REQUEST_ID) is Outcome.MALFORMED


@pytest.mark.parametrize(
    ("operation", "status", "expected"),
    [
        (Operation.EXECUTE, 201, Outcome.MALFORMED),
        (Operation.EXECUTE, 302, Outcome.CLIENT_ERROR),
        (Operation.EXECUTE, 400, Outcome.CLIENT_ERROR),
        (Operation.EXECUTE, 401, Outcome.WRONGLY_DENIED),
        (Operation.EXECUTE, 402, Outcome.WRONGLY_DENIED),
        (Operation.EXECUTE, 403, Outcome.WRONGLY_DENIED),
        (Operation.EXECUTE, 404, Outcome.CLIENT_ERROR),
        (Operation.EXECUTE, 429, Outcome.THROTTLED),
        (Operation.EXECUTE, 500, Outcome.SERVER_ERROR),
        (Operation.EXECUTE, 504, Outcome.SERVER_ERROR),
        (Operation.EXECUTE, 999, Outcome.MALFORMED),
        (Operation.ATTACK_SQL, 200, Outcome.WRONGLY_ALLOWED),
        (Operation.ATTACK_SQL, 202, Outcome.WRONGLY_ALLOWED),
        (Operation.ATTACK_SQL, 307, Outcome.CLIENT_ERROR),
        (Operation.ATTACK_SQL, 401, Outcome.CLIENT_ERROR),
        (Operation.ATTACK_SQL, 429, Outcome.THROTTLED),
        (Operation.ATTACK_SQL, 503, Outcome.SERVER_ERROR),
        (Operation.READ_ROOTS, 403, Outcome.WRONGLY_DENIED),
        (Operation.VERIFY_CHAIN, 404, Outcome.CLIENT_ERROR),
        (Operation.MISC_UNKNOWN_TOOL, 200, Outcome.WRONGLY_ALLOWED),
        (Operation.MISC_OVERSIZE, 200, Outcome.WRONGLY_ALLOWED),
        (Operation.MISC_OVERSIZE, 403, Outcome.CLIENT_ERROR),
        (Operation.MISC_BAD_TOKEN, 200, Outcome.WRONGLY_ALLOWED),
        (Operation.MISC_NO_TOKEN, 200, Outcome.WRONGLY_ALLOWED),
        (Operation.MISC_NO_TOKEN, 403, Outcome.CLIENT_ERROR),
        (Operation.MISC_HEALTH, 503, Outcome.SERVER_ERROR),
        (Operation.LOGIN, 401, Outcome.WRONGLY_DENIED),
    ],
)
def test_unexpected_statuses(operation: Operation, status: int, expected: Outcome) -> None:
    assert outcome(operation, status, right_answer(operation)) is expected


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        (Operation.EXECUTE, EXECUTED | {"success": False}),
        (Operation.EXECUTE, EXECUTED | {"request_id": "another"}),
        (Operation.EXECUTE, {"success": True, "action": "allow"}),
        (Operation.EXECUTE, b"<html>" + REQUEST_ID.encode() + b'"success":true</html>'),
        (Operation.EXECUTE, json.dumps(EXECUTED).encode() + b"}"),
        (Operation.ATTACK_SHELL, {"success": True, "error": "no"}),
        (Operation.ATTACK_SHELL, {"success": False, "error": ""}),
        (Operation.ATTACK_SHELL, {"success": False}),
        (Operation.ATTACK_SHELL, {"error": "Forbidden"}),
        (Operation.ATTACK_SHELL, b"Forbidden"),
        (Operation.VERIFY_CHAIN, {"success": True, "data": {"valid": "yes"}}),
        (Operation.VERIFY_CHAIN, {"success": True, "data": {}}),
        (Operation.READ_AUDIT_LOGS, {"success": True, "data": {"total": 1}}),
        (Operation.READ_AUDIT_LOGS, {"success": False, "data": {"items": []}}),
        (Operation.READ_ROOTS, {"success": True}),
        (Operation.READ_ROOTS, {"success": True, "data": "text"}),
        (Operation.READ_ROOTS, {"success": True, "data": None}),
        (Operation.READ_ROOTS, {"success": False, "data": []}),
        (Operation.READ_ROOTS, {}),
        (Operation.READ_ROOTS, "text"),
        (Operation.MISC_HEALTH, {"status": "draining"}),
    ],
)
def test_a_right_status_with_a_wrong_body_is_malformed(operation: Operation, answer: Any) -> None:
    assert outcome(operation, ANSWERS[operation].status, answer) is Outcome.MALFORMED


def test_the_role_checks_envelope_is_a_denial_too() -> None:
    assert outcome(Operation.ATTACK_SQL, 403, {"error": "Forbidden", "detail": "no rule"}) is Outcome.OK


def test_reads_without_an_envelope_are_reads() -> None:
    assert outcome(Operation.READ_USAGE_SUMMARY, 200, {"total_units": 3}) is Outcome.OK
    assert outcome(Operation.READ_GRAPH_AGENTS, 200, []) is Outcome.OK


def test_a_chain_that_is_not_valid_is_an_answer() -> None:
    assert outcome(Operation.VERIFY_CHAIN, 200, {"success": True, "data": {"valid": False}}) is Outcome.OK


@settings(deadline=None)
@given(st.sampled_from(Operation), st.integers(0, 999), st.binary(max_size=200))
def test_anything_has_an_outcome_and_an_attack_that_passed_is_never_missed(
    operation: Operation, status: int, body: bytes
) -> None:
    found = classify(ANSWERS, operation, status, body, REQUEST_ID)
    if KIND_OF[operation] is Kind.DENIED and 200 <= status < 300:
        assert found is Outcome.WRONGLY_ALLOWED
    if status != ANSWERS[operation].status:
        assert found is not Outcome.OK


def test_deeply_nested_json_is_malformed_and_not_a_crash() -> None:
    body = b'{"success":true,"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert classify(ANSWERS, Operation.READ_ROOTS, 200, body, REQUEST_ID) in (Outcome.MALFORMED, Outcome.OK)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(Operation), st.data())
def test_what_is_right_is_json_to_another_parser_too(operation: Operation, data: st.DataObject) -> None:
    """Bytes of a right answer are changed, dropped, doubled or put in; what still counts as right is whole JSON."""
    body = bytearray(json.dumps(right_answer(operation) | {"note": "grüße"}, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        much = data.draw(st.integers(0, 3))
        body[at : at + much] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"NaN", b"-", b"\\u", b'"', b"\xff", b"0"])
        )
        if not body:
            break
    found = classify(ANSWERS, operation, ANSWERS[operation].status, bytes(body), REQUEST_ID)
    assert found in (Outcome.OK, Outcome.MALFORMED)
    if found is Outcome.OK:
        document = json.loads(bytes(body), parse_constant=_no_constant)
        assert isinstance(document, dict)
        if operation is Operation.EXECUTE:
            assert document["request_id"] == REQUEST_ID
            assert document["success"] is True
