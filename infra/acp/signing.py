"""Ed25519 signatures over canonical JSON, for receipts and transparency roots.

Owns the canonical form, the fingerprint and the envelope of a signed receipt.  It never stores a key: the
seed comes from the settings.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

ALGORITHM: Final = "ed25519"
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(receipt: Mapping[str, Any]) -> bytes:
    """Spell a receipt as it is signed and hashed: keys sorted, compact, UTF-8."""
    return _CANONICAL.encode(receipt).encode()


class Signer:
    """Signs with one key, and names it by its fingerprint: the SHA-256 of its public PEM, in hex."""

    def __init__(self, seed_hex: str) -> None:
        """Take the key from the hex of its 32-byte seed; raises ValueError if it is not that."""
        seed = bytes.fromhex(seed_hex)
        if len(seed) != 32:
            raise ValueError(f"signing key has {len(seed)} bytes, must be a seed of 32 bytes in hex")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public_key_pem = pem.decode()
        self.fingerprint = fingerprint_of(self.public_key_pem)

    def sign(self, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """Put a receipt into its signed envelope: receipt, signature, algorithm, public_key_fingerprint."""
        signature = self._key.sign(canonical_json(receipt))
        return {
            "receipt": dict(receipt),
            "signature": base64.urlsafe_b64encode(signature).rstrip(b"=").decode(),
            "algorithm": ALGORITHM,
            "public_key_fingerprint": self.fingerprint,
        }


def fingerprint_of(public_key_pem: str) -> str:
    """Name a public key: the SHA-256 of its PEM, in hex."""
    return sha256(public_key_pem.encode()).hexdigest()


def errors_of(signed: object, public_key_pem: str) -> list[str]:
    """Say what is wrong with a signed envelope, in the words of the API; nothing means it is genuine.

    Returns:
        any of `malformed_payload`, `unknown_key_fingerprint`, `signature_mismatch`.
    """
    if not isinstance(signed, Mapping) or not isinstance(signed.get("receipt"), Mapping):
        return ["malformed_payload"]
    if signed.get("algorithm") != ALGORITHM or not isinstance(signed.get("signature"), str):
        return ["malformed_payload"]
    if signed.get("public_key_fingerprint") != fingerprint_of(public_key_pem):
        return ["unknown_key_fingerprint"]
    key = load_pem_public_key(public_key_pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        return ["unknown_key_fingerprint"]
    text = signed["signature"]
    try:
        signature = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        key.verify(signature, canonical_json(signed["receipt"]))
    except (InvalidSignature, binascii.Error, ValueError, TypeError):
        return ["signature_mismatch"]
    return []
