from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from infra.acp.signing import Signer, canonical_json, errors_of

SIGNER = Signer("01" * 32)
RECEIPT = {"version": 4, "tenant_id": "t", "root_hash": "é", "leaf_count": 3, "prev_root_hash": None}


def test_a_signed_receipt_is_genuine_even_after_its_keys_were_reordered() -> None:
    signed = SIGNER.sign(RECEIPT)
    assert errors_of(signed, SIGNER.public_key_pem) == []
    reordered = {**signed, "receipt": dict(reversed(list(RECEIPT.items())))}
    assert errors_of(json.loads(json.dumps(reordered)), SIGNER.public_key_pem) == []
    assert signed["algorithm"] == "ed25519"
    assert "=" not in signed["signature"]
    assert signed["public_key_fingerprint"] == sha256(SIGNER.public_key_pem.encode()).hexdigest()


def test_the_canonical_form_is_sorted_compact_utf8() -> None:
    assert canonical_json({"b": "é", "a": [1, None]}) == '{"a":[1,null],"b":"é"}'.encode()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"receipt": {**RECEIPT, "leaf_count": 4}}, "signature_mismatch"),
        ({"signature": "AAAA"}, "signature_mismatch"),
        ({"signature": "not base64!"}, "signature_mismatch"),
        ({"public_key_fingerprint": "0" * 64}, "unknown_key_fingerprint"),
        ({"algorithm": "none"}, "malformed_payload"),
        ({"receipt": None}, "malformed_payload"),
        ({"signature": 7}, "malformed_payload"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], error: str) -> None:
    assert errors_of({**SIGNER.sign(RECEIPT), **change}, SIGNER.public_key_pem) == [error]


def test_another_key_is_unknown() -> None:
    assert errors_of(SIGNER.sign(RECEIPT), Signer("02" * 32).public_key_pem) == ["unknown_key_fingerprint"]
    assert errors_of("text", SIGNER.public_key_pem) == ["malformed_payload"]


@pytest.mark.parametrize("seed", ["", "01", "zz" * 32, "01" * 33])
def test_a_key_that_is_no_seed_is_refused(seed: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Signer(seed)
